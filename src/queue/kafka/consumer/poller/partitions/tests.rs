//! Random sequences of what a group, the brokers, the client and an owner may do, against a model of each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
const PARTITIONS: i32 = 5;
/// Rounds within which everything is at rest once nothing fails any more.
const ROUNDS: usize = 10;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The group gives those of these (a bit each) that it has not given.
    Assign(u8),
    /// The group wants those of these back that it has given.
    Revoke(u8),
    /// Those of these that it has given are gone without a word.
    Lose(u8),
    /// The client is replaced.
    LoseAll,
    /// The brokers answer a look-up: for all partitions, for the first one only, or not at all.
    Found(usize, Answer),
    /// The owner hears the next thing it was told.
    Hear,
    /// The owner reads a partition from somewhere, anew if it reads it already; the client may refuse.
    Seek(i32, bool),
    /// The owner lets go of everything it was told to give back.
    Release,
    /// The owner commits everything it ever read of its partitions.
    Commit,
    /// The commit on its way comes to its end.
    CommitEnds,
    /// What waits to be taken.
    Fill(Fill),
    /// Time passes, in milliseconds.
    Pass(u64),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    All,
    First,
    Failed,
}

fn event() -> impl Strategy<Value = Event> {
    let fill = prop_oneof![Just(Fill::Full), Just(Fill::Some), Just(Fill::HalfEmpty)];
    let answer =
        prop_oneof![4 => Just(Answer::All), 1 => Just(Answer::First), 1 => Just(Answer::Failed)];
    prop_oneof![
        4 => any::<u8>().prop_map(Event::Assign),
        4 => any::<u8>().prop_map(Event::Revoke),
        1 => any::<u8>().prop_map(Event::Lose),
        1 => Just(Event::LoseAll),
        6 => (0..3usize, answer).prop_map(|(which, answer)| Event::Found(which, answer)),
        8 => Just(Event::Hear),
        8 => (0..PARTITIONS, prop::bool::weighted(0.1)).prop_map(|(p, refuses)| Event::Seek(p, refuses)),
        4 => Just(Event::Release),
        3 => Just(Event::Commit),
        3 => Just(Event::CommitEnds),
        4 => fill.prop_map(Event::Fill),
        4 => (1..3_000u64).prop_map(Event::Pass),
    ]
}

#[derive(Clone, Debug)]
enum Told {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
}

/// Everybody around the partitions of one member.
struct World {
    partitions: Partitions,
    now: Instant,
    fill: Fill,
    /// The group's side: what it has given, with whether it wants that back, and since when.
    given: BTreeMap<i32, Option<Instant>>,
    look_ups: Vec<(Vec<i32>, u64)>,
    /// The client's side: what it reads, and its flags, which outlive an assignment.
    placed: BTreeSet<i32>,
    paused: BTreeSet<i32>,
    /// What the owner was told and has not heard, and what it knows of after all that.
    inbox: VecDeque<Told>,
    told: BTreeSet<i32>,
    /// The owner's side: its partitions, with the epoch of the last seek.
    known: BTreeMap<i32, Option<u64>>,
    /// What it was told to give back.
    to_release: BTreeSet<i32>,
    /// What the group waits for it to let go of.
    holds: BTreeSet<i32>,
    /// The epochs of earlier lives of partitions, which nothing may be committed of.
    ended: BTreeSet<(i32, u64)>,
    committing: Option<Commit>,
}

impl World {
    fn new() -> Self {
        Self {
            partitions: Partitions::new(RELEASE_TIMEOUT),
            now: Instant::now(),
            fill: Fill::HalfEmpty,
            given: BTreeMap::new(),
            look_ups: Vec::new(),
            placed: BTreeSet::new(),
            paused: BTreeSet::new(),
            inbox: VecDeque::new(),
            told: BTreeSet::new(),
            known: BTreeMap::new(),
            to_release: BTreeSet::new(),
            holds: BTreeSet::new(),
            ended: BTreeSet::new(),
            committing: None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Assign(bits) => self.assign(bits),
            Event::Revoke(bits) => self.revoke(bits),
            Event::Lose(bits) => self.lose(&chosen(bits)),
            Event::LoseAll => {
                let effects = self.partitions.lost_all();
                let given: Vec<i32> = self.given.keys().copied().collect();
                self.gone(&given);
                // It has a client of its own now, and waits for no answer of the old one.
                (self.placed, self.paused, self.committing) = Default::default();
                self.act(effects);
            }
            Event::Found(which, answer) => self.find(which, answer),
            Event::Hear => self.hear(),
            Event::Seek(partition, is_refused) => self.seek(partition, is_refused),
            Event::Release => self.release(),
            Event::Commit => self.commit(),
            Event::CommitEnds => {
                if let Some(commit) = self.committing.take() {
                    let effects = self.partitions.committed(commit.number, self.now);
                    self.act(effects);
                }
            }
            Event::Fill(fill) => self.fill = fill,
            Event::Pass(millis) => self.now += Duration::from_millis(millis),
        }
        self.turn();
        self.check();
    }

    /// What the thread does all the time.
    fn turn(&mut self) {
        let due = self.partitions.give_back_when_due(self.now);
        self.act(due);
        let (_, effect) = self.partitions.may_read(self.fill, self.now);
        self.act(effect);
    }

    /// The group moves nothing more until it has what it wanted back.
    fn is_revoking(&self) -> bool {
        self.given.values().any(Option::is_some)
    }

    fn assign(&mut self, bits: u8) {
        let new: Vec<i32> = chosen(bits).into_iter().filter(|p| !self.given.contains_key(p)).collect();
        if self.is_revoking() {
            return;
        }
        self.given.extend(new.iter().map(|partition| (*partition, None)));
        let effects = self.partitions.assigned(new);
        self.act(effects);
    }

    fn revoke(&mut self, bits: u8) {
        let wanted: Vec<i32> = chosen(bits).into_iter().filter(|p| self.given.contains_key(p)).collect();
        if self.is_revoking() {
            return;
        }
        self.given.extend(wanted.iter().map(|partition| (*partition, Some(self.now))));
        let effects = self.partitions.revoked(&wanted, self.now);
        self.act(effects);
    }

    fn lose(&mut self, partitions: &[i32]) {
        let lost: Vec<i32> = partitions.iter().copied().filter(|p| self.given.contains_key(p)).collect();
        self.gone(&lost);
        let effects = self.partitions.lost(&lost);
        self.act(effects);
    }

    fn gone(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.given.remove(partition);
            self.placed.remove(partition);
            self.holds.remove(partition);
        }
    }

    fn find(&mut self, which: usize, answer: Answer) {
        if self.look_ups.is_empty() {
            return;
        }
        let (asked, epoch) = self.look_ups.remove(which % self.look_ups.len());
        let known = |partitions: &[i32]| {
            Some(partitions.iter().map(|partition| assignment(*partition)).collect::<Vec<_>>())
        };
        let found = match answer {
            Answer::All => known(&asked),
            Answer::First => known(&asked[..1]),
            Answer::Failed => None,
        };
        let effects = self.partitions.found(&asked, epoch, found);
        self.act(effects);
    }

    fn hear(&mut self) {
        // An owner lets go before it asks what is next.
        if !self.to_release.is_empty() {
            return;
        }
        match self.inbox.pop_front() {
            Some(Told::Assigned(partitions)) => {
                self.known.extend(partitions.into_iter().map(|partition| (partition, None)));
            }
            Some(Told::Revoked(partitions)) => self.to_release.extend(partitions),
            None => {}
        }
    }

    fn seek(&mut self, partition: i32, is_refused: bool) {
        // It does not read what it is to give back.
        if !self.known.contains_key(&partition) || self.to_release.contains(&partition) {
            return;
        }
        match self.partitions.sought(partition) {
            Ok(_) if is_refused => {
                self.placed.remove(&partition);
                self.partitions.not_placed(partition);
            }
            Ok(placement) => {
                assert!(!self.is_revoking(), "the client takes this for the end of the revocation");
                self.placed.insert(partition);
                self.set_paused(&[partition], placement.is_paused);
                let before = self.known.insert(partition, Some(placement.epoch)).flatten();
                self.ended.extend(before.map(|epoch| (partition, epoch)));
            }
            Err(Refused::WhileRevoking) => assert!(self.is_revoking()),
            Err(Refused::NotAssigned) => {
                // Then it was told so, and will hear it.
                let is_told_of =
                    |told: &Told| matches!(told, Told::Revoked(p) if p.contains(&partition));
                assert!(self.inbox.iter().any(is_told_of), "{partition} is refused without a reason");
            }
        }
    }

    fn release(&mut self) {
        let released: Vec<i32> = std::mem::take(&mut self.to_release).into_iter().collect();
        for partition in &released {
            self.holds.remove(partition);
            let epoch = self.known.remove(partition).flatten();
            self.ended.extend(epoch.map(|epoch| (*partition, epoch)));
        }
        let effects = self.partitions.released(&released, self.now);
        self.act(effects);
    }

    fn commit(&mut self) {
        let known = self.known.iter().filter_map(|(partition, epoch)| Some((*partition, (*epoch)?)));
        let offsets: Vec<_> = self
            .ended
            .iter()
            .copied()
            .chain(known)
            .map(|(p, epoch)| (p, epoch, Offset(epoch)))
            .collect();
        let Some(commit) = self.partitions.commit(&offsets) else {
            assert!(self.committing.is_some(), "a commit is refused without a reason");
            return;
        };
        for (partition, offset) in &commit.offsets {
            assert!(self.given.contains_key(partition), "{partition} is somebody else's");
            assert_eq!(self.known.get(partition), Some(&Some(offset.0)), "of an earlier life");
        }
        if !commit.offsets.is_empty() {
            self.committing = Some(commit);
        }
    }

    fn act(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::LookUp { partitions, epoch, .. } => self.look_ups.push((partitions, epoch)),
                Effect::Announce(assignments) => {
                    let announced: Vec<i32> = assignments
                        .iter()
                        .map(|found| i32::try_from(found.partition.0).unwrap())
                        .collect();
                    for partition in &announced {
                        assert!(self.told.insert(*partition), "{partition} is announced twice");
                        assert!(self.given.contains_key(partition), "{partition} is not the member's");
                    }
                    self.inbox.push_back(Told::Assigned(announced));
                }
                Effect::TellRevoked(partitions) => {
                    for partition in &partitions {
                        assert!(self.told.remove(partition), "{partition} ends without a beginning");
                        if self.given.contains_key(partition) {
                            self.holds.insert(*partition);
                        }
                    }
                    self.inbox.push_back(Told::Revoked(partitions));
                }
                Effect::Pause(partitions) => self.set_paused(&partitions, true),
                Effect::Resume(partitions) => self.set_paused(&partitions, false),
                Effect::GiveBack { partitions, .. } => self.give_back(&partitions),
            }
        }
    }

    fn set_paused(&mut self, partitions: &[i32], is_paused: bool) {
        for partition in partitions {
            assert!(self.placed.contains(partition), "{partition} is not the client's");
            if is_paused {
                self.paused.insert(*partition);
            } else {
                self.paused.remove(partition);
            }
        }
    }

    fn give_back(&mut self, partitions: &[i32]) {
        let wanted = self.given.iter().filter_map(|(partition, since)| Some((*partition, (*since)?)));
        let wanted: BTreeMap<i32, Instant> = wanted.collect();
        assert!(wanted.keys().eq(partitions), "the group takes a part for the whole: {partitions:?}");
        let took = wanted.values().map(|since| self.now.duration_since(*since)).max().unwrap();
        let is_held = partitions.iter().any(|partition| self.holds.contains(partition));
        assert!(took >= RELEASE_TIMEOUT || !is_held, "the owner is at work");
        let committing = self.committing.iter().flat_map(|commit| &commit.offsets);
        for (partition, _) in committing {
            assert!(!partitions.contains(partition), "a commit of {partition} is on its way");
        }
        self.gone(partitions);
    }

    fn check(&self) {
        for partition in 0..PARTITIONS {
            if self.partitions.epoch_of(partition).is_some() {
                assert!(self.placed.contains(&partition), "{partition} is not the client's");
                let is_paused = self.paused.contains(&partition);
                assert_eq!(is_paused, self.partitions.is_paused(), "the flag of {partition}");
            }
        }
    }

    /// Nothing fails any more: everything that is the member's flows, and nothing else is left.
    fn come_to_rest(mut self) {
        self.fill = Fill::HalfEmpty;
        for _ in 0..ROUNDS {
            while !self.look_ups.is_empty() {
                self.happen(Event::Found(0, Answer::All));
            }
            while !self.inbox.is_empty() {
                self.happen(Event::Hear);
                self.happen(Event::Release);
            }
            self.happen(Event::Release);
            self.happen(Event::CommitEnds);
            for partition in self.known.clone().into_keys() {
                if self.partitions.epoch_of(partition).is_none() {
                    self.happen(Event::Seek(partition, false));
                }
            }
        }
        assert!(!self.is_revoking(), "the group waits for ever");
        let given: BTreeSet<i32> = self.given.keys().copied().collect();
        assert_eq!(self.told, given, "what the owner was told");
        assert_eq!(self.known.keys().copied().collect::<BTreeSet<_>>(), given, "what it has");
        for partition in given {
            assert!(self.partitions.epoch_of(partition).is_some(), "{partition} is not read");
            assert!(!self.paused.contains(&partition), "{partition} is paused for ever");
        }
    }
}

/// Those whose bit is set.
fn chosen(bits: u8) -> Vec<i32> {
    (0..PARTITIONS).filter(|partition| bits & (1 << partition) != 0).collect()
}

fn assignment(partition: i32) -> Assignment {
    let start = Offset(0);
    Assignment { partition: number(partition), committed: None, earliest: start, end: start }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_what_is_the_members_flows_and_nothing_else_is_left(
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.come_to_rest();
    }
}

/// A member with these partitions, read by their owner.
fn reading(partitions: &[i32]) -> World {
    let mut world = World::new();
    let bits = partitions.iter().fold(0, |bits, partition| bits | (1 << partition));
    for event in [Event::Assign(bits), Event::Found(0, Answer::All), Event::Hear] {
        world.happen(event);
    }
    for partition in partitions {
        world.happen(Event::Seek(*partition, false));
    }
    world
}

#[test]
fn what_is_looked_up_while_it_is_revoked_does_not_come_back() {
    let mut world = reading(&[1]);
    for event in [Event::Assign(0b1000), Event::Revoke(0b1010), Event::Found(0, Answer::All)] {
        world.happen(event);
    }
    assert_eq!(world.told, BTreeSet::new(), "the one was told to end, and the other never began");
    world.come_to_rest();
}

#[test]
fn what_was_paused_flows_when_it_comes_back() {
    let mut world = reading(&[1, 3]);
    for event in [Event::Fill(Fill::Full), Event::Pass(0), Event::Pass(1_000)] {
        world.happen(event);
    }
    assert_eq!(world.paused, BTreeSet::from([1, 3]));
    for event in [Event::Revoke(0b1000), Event::Hear, Event::Release, Event::Fill(Fill::HalfEmpty)] {
        world.happen(event);
    }
    assert_eq!(world.paused, BTreeSet::from([3]), "the client's flag outlives the assignment");
    world.happen(Event::Assign(0b1000));
    world.come_to_rest();
}

#[test]
fn nothing_is_placed_while_something_is_given_back() {
    let mut world = reading(&[1, 3]);
    world.happen(Event::Revoke(0b1000));
    assert_eq!(world.partitions.sought(1), Err(Refused::WhileRevoking));
    assert_eq!(world.partitions.sought(3), Err(Refused::NotAssigned));
    world.happen(Event::Hear);
    world.happen(Event::Release);
    assert!(world.partitions.sought(1).is_ok());
}

#[test]
fn what_the_member_does_not_know_is_given_back_all_the_same() {
    let mut partitions = Partitions::new(RELEASE_TIMEOUT);
    let effects = partitions.revoked(&[7], Instant::now());
    assert!(matches!(&effects[..], [Effect::GiveBack { partitions, .. }] if partitions == &[7]));
}

#[test]
fn what_is_being_committed_is_given_back_afterwards() {
    let mut world = reading(&[1]);
    for event in [Event::Commit, Event::Revoke(0b10), Event::Hear, Event::Release, Event::Pass(9_000)] {
        world.happen(event);
    }
    assert!(world.is_revoking());
    world.happen(Event::CommitEnds);
    assert!(!world.is_revoking());
}

#[test]
fn what_was_done_in_an_earlier_life_of_a_partition_is_not_committed() {
    let mut world = reading(&[1]);
    let epoch = world.partitions.epoch_of(1).unwrap();
    world.happen(Event::Lose(0b10));
    for event in [Event::Assign(0b10), Event::Found(0, Answer::All), Event::Hear, Event::Release] {
        world.happen(event);
    }
    for event in [Event::Hear, Event::Seek(1, false)] {
        world.happen(event);
    }
    let commit = world.partitions.commit(&[(1, epoch, Offset(7))]).unwrap();
    assert_eq!(commit.offsets, []);
}

#[test]
fn what_was_sought_before_its_owner_heard_that_it_was_lost_is_sought_anew() {
    let mut world = reading(&[1]);
    world.happen(Event::Lose(0b10));
    for event in [Event::Assign(0b10), Event::Found(0, Answer::All), Event::Seek(1, false)] {
        world.happen(event);
    }
    let epoch = world.partitions.epoch_of(1).unwrap();
    world.happen(Event::Hear);
    world.happen(Event::Release);
    assert_eq!(world.partitions.epoch_of(1), None, "it has let go of what it sought");
    assert_eq!(world.partitions.commit(&[(1, epoch, Offset(7))]).unwrap().offsets, []);
    world.come_to_rest();
}
