"""Runs the rendered pods in bare root directories. Called by pods.sh, which explains it."""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import yaml

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
USER = 65532
TOKEN = "a token of this test"
# Mounts, and then the binary in its root without anything of ours.
ENTER = """
set -e
root="$1"; shift
/bin/mount --bind "$root" "$root"
/bin/mount -t proc proc "$root/proc"
for device in null zero urandom; do /bin/mount --bind "/dev/$device" "$root/dev/$device"; done
while [ "$1" != -- ]; do /bin/mount --bind "$1" "$root$2"; [ "$3" = rw ] || /bin/mount -o remount,bind,ro "$root$2"; shift 3; done
shift
/bin/mount -o remount,bind,ro "$root"
exec /usr/bin/setpriv --no-new-privs /usr/sbin/chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"""

failures = []
passed = 0


def check(name, condition, detail=""):
    global passed
    if condition:
        passed += 1
        print(f"  ok: {name}{f' ({detail})' if detail else ''}", flush=True)
    else:
        failures.append(name)
        print(f"  FAILED: {name}: {detail}", file=sys.stderr, flush=True)


def render(*values):
    command = ["helm", "template", "penstock", HERE / "chart", "--namespace", "penstock", "--kube-version", "1.34.0"]
    for file in values:
        command += ["--values", file]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode != 0:
        sys.exit(f"helm template failed:\n{told.stderr}")
    return [item for item in yaml.safe_load_all(told.stdout) if item]


class NotUp(Exception):
    """A pod is not there, so nothing more can be asked of its form."""


class Pod:
    """A pod of an object, at an address of its own."""

    def __init__(self, items, kind, name, number, secrets, binary, work):
        owner = next(item for item in items if item["kind"] == kind and item["metadata"]["name"] == name)
        self.name = f"{name}-{number}"
        self.address = f"127.0.0.{number + 10}"
        self.spec = owner["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        self.work = work / self.name
        self.secrets = secrets
        self.variables = self.all_variables(items)
        self.binary = binary
        self.process = None

    def all_variables(self, items):
        variables = {}
        for source in self.container.get("envFrom", []):
            wanted = source["configMapRef"]["name"]
            variables |= next(item["data"] for item in items
                              if item["kind"] == "ConfigMap" and item["metadata"]["name"] == wanted)
        for variable in self.container.get("env", []):
            variables[variable["name"]] = variable.get("value", self.name)
        # All pods are in one network here, so each listens at its own address.
        return {name: value.replace("0.0.0.0:", f"{self.address}:") for name, value in variables.items()}

    def make_root(self):
        root = self.work / "root"
        for directory in ("proc", "dev", "tmp", "etc/ssl/certs", "usr/local/bin", "var/lib/penstock"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        for device in ("null", "zero", "urandom"):
            (root / "dev" / device).touch()
        shutil.copy(self.binary, root / "usr/local/bin/penstock")
        for library in re.findall(r"(/\S+) \(0x", subprocess.run(
                ["ldd", self.binary], capture_output=True, text=True, check=True).stdout):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        authorities = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():
            shutil.copy(authorities, root / "etc/ssl/certs")
        (root / "etc/passwd").write_text(f"nonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n")
        return root

    def mounts(self, root):
        """The pod's volumes: where each is made, where it is mounted, and how."""
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        told = []
        for mount in self.container.get("volumeMounts", []):
            source = self.work / mount["name"]
            source.mkdir(parents=True, exist_ok=True)
            volume = volumes.get(mount["name"], {})
            files = {}
            for part in volume.get("projected", {}).get("sources", []):
                secret = self.secrets[part["secret"]["name"]]
                files |= {item["path"]: secret[item["key"]] for item in part["secret"]["items"]}
            if "secret" in volume:
                files |= self.secrets[volume["secret"]["secretName"]]
            for name, text in files.items():
                (source / name).write_text(text)
                os.chown(source / name, 0, USER)
                (source / name).chmod(0o440)
            os.chown(source, 0, USER)
            source.chmod(0o2775)
            (root / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
            told += [str(source), mount["mountPath"], "ro" if mount.get("readOnly") else "rw"]
        return told

    def start(self):
        root = self.make_root()
        mounts = self.mounts(root)
        self.log = open(self.work / "log", "ab")
        arguments = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "enter", str(root),
                     *mounts, "--", "/usr/local/bin/penstock", *self.container["args"]]
        self.process = subprocess.Popen(arguments, env=self.variables, stdout=self.log, stderr=self.log, cwd="/",
                                        executable="/usr/bin/unshare")
        return self

    def probe(self, which):
        probe = self.container[which]
        port = next(port["containerPort"] for port in self.container["ports"] if port["name"] == probe["httpGet"]["port"])
        return status(f"http://{self.address}:{port}{probe['httpGet']['path']}", probe.get("timeoutSeconds", 1))

    def passes(self, which, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self.probe(which) == 200:
                return True
            time.sleep(0.2)
        return False

    def comes_up(self):
        startup = self.container["startupProbe"]
        begun = time.monotonic()
        up = self.passes("startupProbe", startup["periodSeconds"] * startup["failureThreshold"])
        ready = up and self.passes("readinessProbe", 60) and self.probe("livenessProbe") == 200
        check(f"{self.name} starts and is ready", ready, f"{time.monotonic() - begun:.1f} s" if ready else self.tail())
        if not ready:
            raise NotUp

    def ends(self):
        """Ends it as the node does: the pause, the signal, and no more than the grace period."""
        pause = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        rest = self.spec["terminationGracePeriodSeconds"] - pause
        begun = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(rest)
        except subprocess.TimeoutExpired:
            code = "killed"
            self.process.kill()
        check(f"{self.name} ends with 0 within {rest} s", code == 0,
              f"{time.monotonic() - begun:.1f} s" if code == 0 else f"{code}: {self.tail()}")

    def finishes(self):
        """Runs a Job's pod to its end."""
        code = self.start().process.wait(120)
        check(f"{self.name} ends with 0", code == 0, "" if code == 0 else f"{code}: {self.tail()}")

    def tail(self):
        return (self.work / "log").read_text()[-1500:]


def status(url, timeout):
    try:
        return urllib.request.urlopen(url, timeout=timeout).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def sends_the_example(address):
    request = urllib.request.Request(
        f"http://{address}:8080/amlyze-ws-rest/batch-accounts", (ROOT / "examples" / "batch.json").read_bytes(),
        {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", "prefer": "wait=20"})
    answer = json.load(urllib.request.urlopen(request, timeout=40))
    told = [(item["resultType"], item.get("errorCode")) for item in answer["results"]]
    wanted = [("REQUEST_ACCEPTED", None), ("REQUEST_REJECTED", "O005")]
    check("the example gets its outcomes", told == wanted, "" if told == wanted else str(told))


def load(binary, address, items):
    done = subprocess.run([binary, "load", "--items", str(items), "--batch-size", "100", "--url",
                           f"http://{address}:8080", "--token", TOKEN], capture_output=True, text=True, cwd="/tmp")
    check(f"{items} items get their right outcomes", done.returncode == 0,
          "" if done.returncode == 0 else done.stdout[-1500:] + done.stderr[-1500:])


def sha256(text):
    import hashlib
    return hashlib.sha256(text.encode()).hexdigest()


SECRETS = {
    "penstock-tokens": {"tokens": json.dumps([{"name": "test", "sha256": sha256(TOKEN)}]) + "\n"},
    "penstock-callbacks-keys": {"risk": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"},
}


def embedded(binary, work):
    print("embedded", flush=True)
    items = render(HERE / "chart" / "examples" / "embedded.yaml")
    pod = Pod(items, "StatefulSet", "penstock-embedded", 0, SECRETS, binary, work).start()
    pod.comes_up()
    sends_the_example(pod.address)
    load(binary, pod.address, 5_000)
    pod.ends()
    # The next one has the same volume.
    pod.start().comes_up()
    sends_the_example(pod.address)
    pod.ends()


class Receiver(http.server.BaseHTTPRequestHandler):
    events = set()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Receiver.events.add(self.headers["ce-id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def production(binary, work):
    print("production", flush=True)
    # The servers' own users must reach their directories.
    servers = pathlib.Path(tempfile.mkdtemp())
    servers.chmod(0o755)
    environment = os.environ | {"PENSTOCK_POSTGRES_DIR": str(servers / "postgres")}
    local = ROOT / "deploy" / "local"
    try:
        brokers = subprocess.run([local / "kafka.sh", "start", "--dir", servers / "kafka"], env=environment,
                                 check=True, capture_output=True, text=True).stdout.strip()
        url = subprocess.run([local / "postgres.sh", "start"], env=environment,
                             check=True, capture_output=True, text=True).stdout.strip()
        run_production(binary, work, brokers, url)
    except subprocess.CalledProcessError as error:
        check("the servers start", False, error.stderr)
    finally:
        subprocess.run([local / "postgres.sh", "stop"], env=environment)
        subprocess.run([local / "kafka.sh", "stop", "--dir", servers / "kafka"], env=environment)
        shutil.rmtree(servers, ignore_errors=True)


def run_production(binary, work, brokers, url):
    user, password, place = re.fullmatch(r"postgres://(\w+):(\w+)@(.*)", url).groups()
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 9999), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    values = work / "values.yaml"
    values.write_text(json.dumps({
        "settings": {
            "queue": {"kafka": {"brokers": brokers, "security": {"protocol": "plaintext"},
                                "topics": {"replication_factor": 1, "min_insync_replicas": 1}}},
            "store": {"postgres": {"url": f"postgres://{user}@{place}"}},
            "callbacks": {"allow_networks": ["127.0.0.0/8"], "endpoints": [
                {"name": "risk", "url": "http://127.0.0.1:9999/", "allow_http": True,
                 "secret_files": ["/run/secrets/callbacks/risk"]}]},
        },
        "kafka": {"caSecret": {"name": ""}},
        "postgres": {"caSecret": {"name": ""}},
        "setup": {"migrate": {"url": "", "passwordSecret": {"name": "penstock-db-user"}}},
    }))
    items = render(HERE / "chart" / "examples" / "production.yaml", values)
    users = {f"penstock-{role}": {"password": "unused\n"} for role in ("intake", "worker", "callbacks", "setup")}
    secrets = SECRETS | users | {"penstock-db-user": {"password": password + "\n"}}

    def pod(kind, name, number):
        return Pod(items, kind, name, number, secrets, binary, work)

    early = pod("StatefulSet", "penstock-worker", 40).start()
    check("a worker refuses to start before the Jobs", early.process.wait(60) == 5, early.tail()[-200:])
    # Twice: the second time there is nothing to do.
    for number in (0, 1):
        pod("Job", "penstock-topics", number).finishes()
        pod("Job", "penstock-migrate", number).finishes()
    intakes = [pod("Deployment", "penstock-intake", number).start() for number in (2, 3)]
    workers = [pod("StatefulSet", "penstock-worker", number).start() for number in (4, 5)]
    callbacks = [pod("Deployment", "penstock-callbacks", number).start() for number in (6, 7)]
    for each in [*intakes, *workers, *callbacks]:
        each.comes_up()
    sends_the_example(intakes[0].address)
    load(binary, intakes[1].address, 5_000)
    deadline = time.monotonic() + 60
    while len(Receiver.events) < 4_000 and time.monotonic() < deadline:
        time.sleep(0.2)
    check("the receiver gets events", len(Receiver.events) >= 4_000, f"{len(Receiver.events)} ids")
    # A Job beside roles at work.
    pod("Job", "penstock-migrate", 8).finishes()
    # One of each goes, and a load passes by the others.
    for each in (intakes[0], workers[0], callbacks[0]):
        each.ends()
    workers[0].start().comes_up()
    load(binary, intakes[1].address, 5_000)
    for each in (intakes[1], *workers, callbacks[1]):
        each.ends()


def main(binary, forms):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        work.chmod(0o755)
        for form in forms:
            try:
                {"embedded": embedded, "production": production}[form](binary, work)
            except NotUp:
                pass
    print("\nNot as in the cluster: each pod has an address of its own in one network; libraries that the binary was "
          "linked with are added;\nof the production form, brokers and database are of this machine, without TLS, and "
          "no NetworkPolicy holds.")
    print(f"\n{passed} passed, {len(failures)} failed")
    sys.exit(bool(failures))


main(sys.argv[1], sys.argv[2:] or ["embedded", "production"])
