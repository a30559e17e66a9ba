use super::*;
use crate::account::{CreateExisting, RejectionCode};

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    let known = Known::new(default_table());
    let mut reading = Reading::start(&known);
    reading.take(layers::from_toml(file, "penstock.toml", &known));
    let variables =
        environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    reading.take(layers::from_environment(variables, &known));
    reading.finish()
}

fn problems(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(file, environment).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_documented_defaults_are_usable_and_are_all_there_is() {
    let loaded = Loaded::from(Sources::default()).unwrap();
    let typed = toml::Table::try_from(&loaded.settings).unwrap();
    assert_eq!(typed, default_table(), "every key is documented, in the form it prints in");
}

#[test]
fn every_default_has_a_comment() {
    let mut documented = false;
    for line in DEFAULTS.lines() {
        match line.trim() {
            "" => documented = false,
            comment if comment.starts_with('#') => documented = true,
            section if section.starts_with('[') => {}
            key => assert!(documented, "no comment above {key}"),
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let loaded =
        load("[worker]\nlanes = 3\nmax_records = 7", &[("PENSTOCK__WORKER__LANES", "5")]).unwrap();
    assert_eq!(loaded.settings.worker.lanes, 5);
    assert_eq!(loaded.settings.worker.max_records, 7);
    assert_eq!(loaded.settings.worker.max_bytes.to_string(), "1MB");
}

#[test]
fn options_win_over_everything() {
    let loaded = Loaded::from(Sources {
        environment: vec![("PENSTOCK__DATA_DIR".into(), "/a".into())],
        options: vec![("data_dir", "--data-dir", "/b".to_owned())],
        file: None,
    });
    assert_eq!(loaded.unwrap().settings.data_dir, PathBuf::from("/b"));
}

#[test]
fn unknown_keys_are_refused_with_the_place_and_what_was_probably_meant() {
    assert_eq!(
        problems("[worker]\nmax_record = 3", &[]),
        ["worker.max_record (from penstock.toml:2): unknown key; did you mean worker.max_records?"]
    );
    assert_eq!(
        problems("lanes = 3", &[]),
        ["lanes (from penstock.toml:1): unknown key; did you mean worker.lanes?"]
    );
    assert_eq!(
        problems("", &[("PENSTOCK__INTAKE__LISTN", "x")]),
        ["intake.listn (from PENSTOCK__INTAKE__LISTN): unknown key; did you mean intake.listen?"]
    );
    assert_eq!(
        problems("", &[("PENSTOCK__QQQ", "x")]),
        ["qqq (from PENSTOCK__QQQ): unknown key; `penstock config print` lists the keys there are"]
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let file = "
        [queue]
        kind = 'rabbit'
        [intake]
        listen = 'everywhere'
        outcome_wait = '3'
        max_body = '1TB'
        max_items = '10'
        [worker]
        lanes = 100
        retry_min_backoff = '1m'
        nonsense = 1";
    let found = problems(file, &[("PENSTOCK__INTAKE__MAX_CONNECTIONS", "many")]);
    let expected = [
        "queue.kind (from penstock.toml:3): ",
        "intake.listen (from penstock.toml:5): ",
        "intake.outcome_wait (from penstock.toml:6): must be a duration such as \"3s\"",
        "intake.max_body (from penstock.toml:7): must be a size such as \"16MB\"",
        "intake.max_items (from penstock.toml:8): must be a whole number",
        "intake.max_connections (from PENSTOCK__INTAKE__MAX_CONNECTIONS): must be a whole number",
        "worker.lanes (from penstock.toml:10): is 100; it must be from 1 to 64",
        "worker.retry_min_backoff (from penstock.toml:11): is longer than worker.retry_max_backoff (10s)",
        "worker.nonsense (from penstock.toml:12): unknown key",
    ];
    for start in expected {
        assert!(found.iter().any(|problem| problem.starts_with(start)), "no {start:?} in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let found = problems("data_dir = '/a'\n[worker\n", &[]);
    assert!(found[0].starts_with("penstock.toml (from line 2): is no TOML"), "{found:?}");
}

#[test]
fn a_section_given_a_value_is_refused() {
    assert!(problems("worker = 3", &[])[0].contains("is a section"));
    assert!(problems("", &[("PENSTOCK__WORKER", "3")])[0].contains("is a section"));
}

#[test]
fn kinds_that_do_not_exist_are_refused_with_those_that_do() {
    let found = problems("queue.kind = 'mqtt'\nstore.kind = 'oracle'", &[]);
    assert!(found.iter().all(|problem| problem.contains("sqlite")), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_production_queue_needs_brokers_and_a_user_where_it_says_who_it_is() {
    let found = problems("queue.kind = 'kafka'", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("queue.kafka.brokers"), "{found:?}");
    let nobody = "[queue]\nkind = 'kafka'\n[queue.kafka]\nbrokers = 'kafka-1:9092, kafka-2:9092'\n\
                  security.protocol = 'sasl_ssl'\nsecurity.key_file = '/key.pem'";
    let found = problems(nobody, &[]);
    let keys = ["security.username", "security.password", "security.certificate_file"];
    assert_eq!(found.len(), keys.len(), "{found:?}");
    assert!(keys.iter().all(|key| found.iter().any(|problem| problem.contains(key))), "{found:?}");
}

#[test]
fn settings_of_a_client_keep_their_own_names() {
    let file = "[queue.kafka.extra]\nlinger.ms = 20\n\"client.rack\" = 'a'";
    let by_name = |loaded: Loaded| loaded.settings.queue.kafka.extra.by_name().clone();
    let extra = by_name(load(file, &[]).unwrap());
    assert_eq!(extra.get("linger.ms").map(String::as_str), Some("20"));
    assert_eq!(extra.get("client.rack").map(String::as_str), Some("a"));
    let variable = ("PENSTOCK__QUEUE__KAFKA__EXTRA", r#"{"linger.ms": "7"}"#);
    let extra = by_name(load(file, &[variable]).unwrap());
    assert_eq!(extra.get("linger.ms").map(String::as_str), Some("7"), "the environment wins");
    assert!(problems("queue.kafka.extra = 3", &[])[0].contains("must be a table"));
}

#[test]
fn a_production_store_needs_a_url_and_a_connection_for_every_lane() {
    let found = problems("store.kind = 'postgres'", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("store.postgres.url"), "{found:?}");
    let crowded = "worker.lanes = 4\n[store]\nkind = 'postgres'\n[store.postgres]\n\
                   url = 'postgres://db/penstock'\nmax_connections = 4";
    let found = problems(crowded, &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("store.postgres.max_connections"), "{found:?}");
}

#[test]
fn the_url_of_a_store_is_never_shown() {
    let url = "postgres://penstock:planted@db/penstock";
    let wrong = "mysql://penstock:planted@db/penstock";
    let name = "PENSTOCK__STORE__POSTGRES__URL";
    let loaded =
        Loaded::from(Sources { environment: vec![(name.into(), url.into())], ..Sources::default() })
            .unwrap();
    assert!(loaded.to_toml().unwrap().contains("url = \"<hidden>\"  # PENSTOCK__STORE__POSTGRES__URL"));
    assert!(!loaded.to_toml().unwrap().contains("planted"));
    assert!(!format!("{loaded:?}").contains("planted"));
    let found = problems("store.kind = 'postgres'", &[(name, wrong)]);
    assert!(!format!("{found:?}").contains("planted"));
}

const DIGEST: &str = "ef260e9aa3c673af240d17a2660480361a8e081d1ffeca2a5ed0e3219fc18567";

#[test]
fn lists_come_from_the_environment_as_json_or_toml() {
    let json = format!(r#"[{{"name": "a", "sha256": "{DIGEST}", "business_units": ["LT"]}}]"#);
    let toml = format!(r#"[{{name = "a", sha256 = "{DIGEST}", business_units = ["LT"]}}]"#);
    for text in [json, toml] {
        let loaded = load("", &[("PENSTOCK__AUTH__TOKENS", &text)]).unwrap();
        let token = &loaded.settings.auth.tokens[0];
        assert_eq!(
            (token.name.as_str(), token.business_units.as_slice()),
            ("a", &["LT".to_owned()][..])
        );
        assert_eq!(token.scopes, TokenSettings::all_scopes());
    }
    let found = problems("", &[("PENSTOCK__AUTH__ALLOW_IPS", "10.0.0.1")]);
    assert!(found[0].contains("must be a list"), "{found:?}");
}

#[test]
fn tokens_are_checked_one_by_one() {
    let token = format!("{{ name = 'a', sha256 = '{DIGEST}' }}");
    let found = problems(&format!("auth.tokens = [{token}, {token}]"), &[]);
    assert!(found[0].starts_with("auth.tokens[1].name (from penstock.toml:1): "), "{found:?}");
    assert!(found[1].starts_with("auth.tokens[1].sha256 "), "{found:?}");
    let found = problems("auth.tokens = [{ name = 'a', sha256 = 'abc' }]", &[]);
    assert!(found[0].contains("64 hexadecimal digits"), "{found:?}");
    let found =
        problems(&format!("auth.tokens = [{{ name = 'a', sha256 = '{DIGEST}', unit = 1 }}]"), &[]);
    assert!(found[0].contains("unknown field `unit`"), "{found:?}");
}

#[test]
fn a_variable_may_name_a_file_that_has_the_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prefix");
    std::fs::write(&path, "bank.penstock\n").unwrap();
    let path = path.to_str().unwrap();
    let loaded = load("", &[("PENSTOCK__EVENTS__TYPE_PREFIX_FILE", path)]).unwrap();
    assert_eq!(loaded.settings.events.type_prefix, "bank.penstock");

    let both = [("PENSTOCK__EVENTS__TYPE_PREFIX_FILE", path), ("PENSTOCK__EVENTS__TYPE_PREFIX", "x")];
    assert!(problems("", &both)[0].contains("keep one"));
    let missing = [("PENSTOCK__EVENTS__TYPE_PREFIX_FILE", "/does/not/exist")];
    assert!(problems("", &missing)[0].contains("cannot be read"));
}

#[test]
fn a_missing_file_of_settings_is_a_problem() {
    let sources = Sources { file: Some("/does/not/exist.toml".into()), ..Sources::default() };
    let error = Loaded::from(sources).unwrap_err();
    assert!(
        error.to_string().contains("/does/not/exist.toml (from --config): cannot be read"),
        "{error}"
    );
}

#[test]
fn rules_and_lists_become_the_policy() {
    let file = "
        [reference]
        account_types = ['LOAN', { code = 'CURRENT', name = 'Current account' }]
        [rules]
        create_existing = 'replace'
        bic_format = true
        disabled = ['A004']";
    let policy = load(file, &[]).unwrap().policy;
    assert_eq!(policy.reference.account_types["CURRENT"], "Current account");
    assert_eq!(policy.create_existing, CreateExisting::Replace);
    assert_eq!(policy.disabled, [RejectionCode::A004, RejectionCode::A014].into());
    assert_eq!(load("", &[]).unwrap().policy, Policy::default());
}

#[test]
fn rules_that_are_always_applied_cannot_be_disabled() {
    let always = ["O005", "A009", "A010", "A016"];
    for code in RejectionCode::ALL.iter().map(ToString::to_string) {
        let disabled = format!("rules.disabled = ['{code}']");
        if always.contains(&code.as_str()) {
            let found = problems(&disabled, &[]);
            assert!(found[0].contains(&format!("{code}, which is always applied")), "{found:?}");
        } else {
            assert!(load(&disabled, &[]).is_ok(), "{code}");
        }
    }
    let found = problems("rules.disabled = ['B001']", &[]);
    assert!(found[0].contains("\"B001\", which is no code"), "{found:?}");
}

#[test]
fn a_list_of_any_length_is_a_list() {
    for codes in [&[][..], &["LOAN"], &["LOAN", "CURRENT"], &["LOAN", "CURRENT", "CARD"]] {
        for key in ["account_types", "business_units", "business_entities", "own_bics"] {
            let file = format!("reference.{key} = {codes:?}");
            let reference = load(&file, &[]).unwrap().policy.reference;
            let listed: Vec<String> = match key {
                "account_types" => reference.account_types.into_keys().collect(),
                "business_units" => reference.business_units.into_keys().collect(),
                "business_entities" => reference.business_entities.into_iter().collect(),
                _ => reference.own_bics.into_iter().collect(),
            };
            let mut expected = codes.to_vec();
            expected.sort_unstable();
            assert_eq!(listed, expected, "{file}");
        }
    }
}

#[test]
fn a_list_may_stand_in_a_file_and_is_printed_as_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("units.txt");
    std::fs::write(&path, "LT\nLV\n").unwrap();
    let file = format!("reference.business_units = {{ file = '{}' }}", path.display());
    let loaded = load(&file, &[]).unwrap();
    assert_eq!(loaded.policy.reference.business_units.len(), 2);
    let printed = loaded.to_toml().unwrap();
    assert!(
        printed.contains(&format!("business_units = {{ file = \"{}\" }}", path.display())),
        "{printed}"
    );

    let found = problems("reference.business_units = { file = '/does/not/exist' }", &[]);
    assert!(found[0].contains("/does/not/exist: cannot be read"), "{found:?}");
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let token = format!("[{{name = 'a', sha256 = '{DIGEST}'}}]");
    let loaded = load("[worker]\nlanes = 3", &[("PENSTOCK__AUTH__TOKENS", &token)]).unwrap();
    let printed = loaded.to_toml().unwrap();
    assert!(printed.contains("lanes = 3  # penstock.toml:2\n"), "{printed}");
    assert!(printed.contains("max_records = 1000  # default\n"), "{printed}");
    assert!(printed.contains("# PENSTOCK__AUTH__TOKENS\n"), "{printed}");
    let again = load(&printed, &[]).unwrap();
    let table = |loaded: &Loaded| toml::Table::try_from(&loaded.settings).unwrap();
    assert_eq!(table(&again), table(&loaded));
}

#[test]
fn the_schema_knows_every_key_with_its_default() {
    let schema = json_schema();
    assert_eq!(schema["properties"]["worker"]["properties"]["lanes"]["default"], 2);
    assert_eq!(schema["properties"]["worker"]["additionalProperties"], false);
    assert!(schema["properties"]["worker"].get("required").is_none());
    for key in Known::new(default_table()).keys() {
        let path = format!("/properties/{}", key.replace('.', "/properties/"));
        assert!(
            schema.pointer(&path).is_some_and(|property| property.get("default").is_some()),
            "{key}"
        );
    }
}

#[test]
fn a_variable_with_too_few_underscores_is_told_and_those_of_others_are_left_alone() {
    let found =
        problems("", &[("PENSTOCK_WORKER__LANES", "3"), ("PENSTOCK_STORE_POSTGRES_URL_FILE", "/x")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|problem| problem.ends_with("write PENSTOCK__WORKER__LANES")), "{found:?}");
    let file = "write PENSTOCK__STORE__POSTGRES__URL_FILE";
    assert!(found.iter().any(|problem| problem.ends_with(file)), "{found:?}");
    let others = [
        ("PENSTOCK_CONFIG", "/etc/penstock.toml"),
        ("PENSTOCK_PORT", "tcp://10.0.0.1:8080"),
        ("PENSTOCK_WORKER_SERVICE_HOST", "10.0.0.1"),
        ("PENSTOCK_TEST_KAFKA", "x"),
    ];
    assert!(load("", &others).is_ok());
}

#[test]
fn what_stands_in_the_place_of_a_secret_is_never_quoted() {
    let endpoint = |field: &str| {
        format!("[[callbacks.endpoints]]\nname = 'risk'\nurl = 'https://risk.bank.example/'\n{field}")
    };
    for (file, secret) in [
        (endpoint("secrets = [123456789]"), "123456789"),
        (endpoint("secrets = 'whsec_TOPSECRET'"), "TOPSECRET"),
        (endpoint("headers = { Authorization = 4711.5 }"), "4711.5"),
        (endpoint("headers = { Authorization = ['TOPSECRET'] }"), "TOPSECRET"),
        ("[store.postgres]\nurl = 123456789".to_owned(), "123456789"),
        ("[[auth.tokens]]\nname = 'a'\nsha256 = 123456789".to_owned(), "123456789"),
    ] {
        let found = problems(&file, &[]);
        assert!(!found.is_empty() && found.iter().all(|problem| !problem.contains(secret)), "{found:?}");
    }
}
