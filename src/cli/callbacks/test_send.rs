//! `penstock callbacks test-send`: one signed event straight to an endpoint. Nothing is recorded.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::account::EventId;
use crate::callbacks::attempt::{Answer, NoAnswer, Verdict};
use crate::callbacks::handshake::Question;
use crate::callbacks::{Request, Sender};
use crate::cli::config::ConfigFile;
use crate::cli::{Exit, callback_options, dev};
use crate::events::{CloudEvent, test_event};
use crate::settings::{Loaded, QueueKind};
use crate::store::EndpointName;

use super::now;
use super::output::{self, shown};
use super::selection::configured;

/// Options of `penstock callbacks test-send`.
#[derive(Args, Debug)]
pub(super) struct TestSendArgs {
    /// Name of the endpoint
    endpoint: String,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// What came of it, for programs.
#[derive(Debug, Serialize)]
struct Sent<'a> {
    endpoint: &'a str,
    event_id: String,
    event_type: &'a str,
    is_acknowledged: bool,
    duration_ms: u64,
    status: Option<u16>,
    /// The first bytes of the answer, or why there is none.
    answer: &'a str,
}

pub(super) async fn run(args: TestSendArgs) -> anyhow::Result<Exit> {
    let loaded = Loaded::from(args.config.sources())?;
    callback_options::check(&loaded)?;
    let mut settings = loaded.settings;
    let name = configured(&settings, &args.endpoint)?;
    if settings.queue.kind == QueueKind::Sqlite {
        // With an embedded queue it is `penstock dev` that delivers, and it may send to this machine.
        settings.callbacks.allow_networks.extend(dev::loopback());
    }
    let (endpoints, sender) = callback_options::endpoints(&settings.callbacks)?;
    let endpoint = endpoints.into_iter().find(|endpoint| endpoint.name == name);
    let endpoint = endpoint.ok_or_else(|| anyhow!("the endpoint {name} is not there"))?;
    let now = now();
    let event = Arc::new(test_event(&settings.events.type_prefix, EventId(Uuid::now_v7()), now));
    let request = Request::of(&endpoint, &[Arc::clone(&event)], now)?;
    if let Some(question) = endpoint.handshake.clone() {
        ask(&sender, &name, question).await?;
    }
    let begun = Instant::now();
    let answered = sender.send(request).await;
    tell(name.as_str(), &event, begun.elapsed(), &answered, args.json)?;
    match (Verdict::of(&answered), answered) {
        (Verdict::Delivered, _) => Ok(Exit::Ok),
        (_, Ok(Answer { status, .. })) => bail!("{name} answered {status}, which acknowledges nothing"),
        (_, Err(NoAnswer(why))) => bail!("{name} gave no answer: {}", shown(&why)),
    }
}

/// Asks the receiver for its consent, as the role does before it sends anything.
async fn ask(sender: &impl Sender, name: &EndpointName, question: Question) -> anyhow::Result<()> {
    let permission = match sender.ask(name.clone(), question.clone()).await {
        Ok(permission) => permission,
        Err(NoAnswer(why)) => {
            bail!("{name} gave no answer when it was asked for its consent: {}", shown(&why))
        }
    };
    if let Err(denied) = permission.for_question(&question) {
        bail!("{name} does not agree to get events, so nothing was sent: {denied}");
    }
    Ok(())
}

fn tell(
    endpoint: &str,
    event: &CloudEvent,
    duration: Duration,
    answered: &Result<Answer, NoAnswer>,
    json: bool,
) -> anyhow::Result<()> {
    let (status, answer) = match answered {
        Ok(answer) => (Some(answer.status), answer.body.as_str()),
        Err(NoAnswer(why)) => (None, why.as_str()),
    };
    let sent = Sent {
        endpoint,
        event_id: event.id.to_string(),
        event_type: &event.event_type,
        is_acknowledged: Verdict::of(answered) == Verdict::Delivered,
        duration_ms: output::millis(duration),
        status,
        answer,
    };
    let mut out = io::stdout().lock();
    if json {
        return output::write_json(&mut out, &sent);
    }
    writeln!(out, "event     {} ({})", sent.event_id, sent.event_type)?;
    writeln!(out, "status    {}", status.map_or("no answer".to_owned(), |status| status.to_string()))?;
    writeln!(out, "duration  {} ms", sent.duration_ms)?;
    writeln!(out, "answer    {}", shown(answer))?;
    Ok(())
}
