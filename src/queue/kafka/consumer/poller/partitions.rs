//! The partitions of a member, each in one state. Pure: what happens to a member comes in, and what is to
//! be done about it comes out, in its order.
//!
//! Whoever was told of a partition is told of its end, once; a partition the member has and the group
//! does not want back is looked up, announced, and read from where its owner says; the client's own flag
//! of a paused partition, which outlives an assignment, is set each time the partition is placed.

mod gate;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::flow::Fill;
use super::super::lookup::number;
use crate::account::Offset;
use crate::queue::Assignment;

use gate::{Gate, Turn};

/// The states of a partition the member has, in the order it goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The brokers are asked what they know of it; `epoch` tells this look-up from earlier ones.
    LookingUp { epoch: u64 },
    /// Its owner knows of it and has not said from where to read.
    Announced,
    /// It is read, since the seek with this epoch.
    Reading { epoch: u64 },
    /// The group wants it back.
    Revoked { owner: Owner, since: Instant },
}

/// What the owner still has to do with a partition that the group wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It was told, and may commit what it did since the seek with this epoch, if there was one.
    Holds { sought: Option<u64> },
    /// It never knew of the partition, or has let go of it.
    IsDone,
}

/// What is to be done about what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an effect that is dropped leaves a partition standing"]
pub(super) enum Effect {
    /// Ask the brokers what they know of partitions.
    LookUp {
        partitions: Vec<i32>,
        epoch: u64,
        /// They were asked before and could not tell.
        is_retry: bool,
    },
    /// Tell the owner of partitions it has now.
    Announce(Vec<Assignment>),
    /// Tell the owner that partitions go, or have gone.
    TellRevoked(Vec<i32>),
    /// Have the client fetch nothing more of partitions, and let it fetch again.
    Pause(Vec<i32>),
    Resume(Vec<i32>),
    /// Give partitions back to the group, all of them in one step: it takes a part for the whole.
    GiveBack {
        partitions: Vec<i32>,
        /// Those whose owner did not let go of them in time.
        overdue: Vec<i32>,
        took: Duration,
    },
}

/// How a partition is to be read from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// Tags what is read.
    pub(super) epoch: u64,
    pub(super) is_paused: bool,
}

/// Why a partition is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its owner does not have it, or not any more.
    NotAssigned,
    /// Partitions are being given back: the client takes any change of what it reads for the end of that.
    WhileRevoking,
}

/// A commit that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) number: u64,
    /// What is still the owner's of what it asked for; may be nothing.
    pub(super) offsets: Vec<(i32, Offset)>,
}

/// The partitions of a member.
#[derive(Debug)]
pub(super) struct Partitions {
    release_timeout: Duration,
    owned: BTreeMap<i32, State>,
    /// Of the last look-up, seek or commit; none of them shares its number with another.
    epoch: u64,
    gate: Gate,
    committing: Option<Commit>,
}

impl Partitions {
    /// None yet. The group waits `release_timeout` for what the owner holds.
    pub(super) fn new(release_timeout: Duration) -> Self {
        Self {
            release_timeout,
            owned: BTreeMap::new(),
            epoch: 0,
            gate: Gate::default(),
            committing: None,
        }
    }

    /// The group gives partitions.
    pub(super) fn assigned(&mut self, partitions: Vec<i32>) -> Vec<Effect> {
        // The owner must not take what it had for what it gets.
        let mut effects = self.lost(&partitions);
        let epoch = self.next_epoch();
        for partition in &partitions {
            self.owned.insert(*partition, State::LookingUp { epoch });
        }
        if !partitions.is_empty() {
            effects.push(Effect::LookUp { partitions, epoch, is_retry: false });
        }
        effects
    }

    /// The brokers told what they know of partitions, or could not.
    pub(super) fn found(
        &mut self,
        partitions: &[i32],
        epoch: u64,
        found: Option<Vec<Assignment>>,
    ) -> Vec<Effect> {
        let is_awaited = |p: &i32| self.owned.get(p) == Some(&State::LookingUp { epoch });
        let awaited: Vec<i32> = partitions.iter().copied().filter(is_awaited).collect();
        if awaited.is_empty() {
            return Vec::new();
        }
        let (told, untold): (Vec<i32>, Vec<i32>) = match &found {
            Some(found) => {
                awaited.into_iter().partition(|p| found.iter().any(|f| f.partition == number(*p)))
            }
            None => (Vec::new(), awaited),
        };
        let mut effects = Vec::new();
        if !told.is_empty() {
            let mut assignments = found.unwrap_or_default();
            assignments.retain(|found| told.iter().any(|p| number(*p) == found.partition));
            self.owned.extend(told.iter().map(|partition| (*partition, State::Announced)));
            effects.push(Effect::Announce(assignments));
        }
        if !untold.is_empty() {
            effects.push(Effect::LookUp { partitions: untold, epoch, is_retry: true });
        }
        effects
    }

    /// The owner says from where to read a partition. The client is to be placed there at once.
    pub(super) fn sought(&mut self, partition: i32) -> Result<Placement, Refused> {
        if !matches!(self.owned.get(&partition), Some(State::Announced | State::Reading { .. })) {
            return Err(Refused::NotAssigned);
        }
        if self.is_revoking() {
            return Err(Refused::WhileRevoking);
        }
        let epoch = self.next_epoch();
        self.owned.insert(partition, State::Reading { epoch });
        Ok(Placement { epoch, is_paused: self.gate.is_shut() })
    }

    /// The client could not be placed: the owner is to say again from where to read.
    pub(super) fn not_placed(&mut self, partition: i32) {
        if let Some(state @ State::Reading { .. }) = self.owned.get_mut(&partition) {
            *state = State::Announced;
        }
    }

    /// What tags the records of a partition now; none while it is not read.
    pub(super) fn epoch_of(&self, partition: i32) -> Option<u64> {
        match self.owned.get(&partition) {
            Some(State::Reading { epoch }) => Some(*epoch),
            _ => None,
        }
    }

    /// Whether the member has a partition that the group does not want back.
    pub(super) fn keeps(&self, partition: i32) -> bool {
        self.owned.get(&partition).is_some_and(|state| !matches!(state, State::Revoked { .. }))
    }

    /// The group wants partitions back.
    pub(super) fn revoked(&mut self, partitions: &[i32], now: Instant) -> Vec<Effect> {
        let mut told = Vec::new();
        for partition in partitions {
            let owner = match self.owned.get(partition) {
                // One that is not known is given back all the same: the group waits for it.
                None | Some(State::LookingUp { .. }) => Owner::IsDone,
                Some(State::Announced) => Owner::Holds { sought: None },
                Some(State::Reading { epoch }) => Owner::Holds { sought: Some(*epoch) },
                Some(State::Revoked { .. }) => continue,
            };
            if owner != Owner::IsDone {
                told.push(*partition);
            }
            self.owned.insert(*partition, State::Revoked { owner, since: now });
        }
        let mut effects = tell_revoked(told);
        effects.extend(self.give_back_when_due(now));
        effects
    }

    /// The owner has let go of partitions. One that was given again meanwhile it may have sought before it heard
    /// that: it says anew from where to read it.
    pub(super) fn released(&mut self, partitions: &[i32], now: Instant) -> Vec<Effect> {
        for partition in partitions {
            match self.owned.get_mut(partition) {
                Some(State::Revoked { owner, .. }) => *owner = Owner::IsDone,
                Some(state @ State::Reading { .. }) => *state = State::Announced,
                Some(State::LookingUp { .. } | State::Announced) | None => {}
            }
        }
        self.give_back_when_due(now)
    }

    /// Gives back what the group wants back once every owner is done with it or was waited for long
    /// enough, and nothing of it is being committed: a commit that waits for the coordinator would
    /// otherwise arrive after those of the next owner, and set the group back.
    pub(super) fn give_back_when_due(&mut self, now: Instant) -> Vec<Effect> {
        let mut revoked = Vec::new();
        let mut held = Vec::new();
        let mut begun_at: Option<Instant> = None;
        for (partition, state) in &self.owned {
            let State::Revoked { owner, since } = state else { continue };
            revoked.push(*partition);
            begun_at = Some(begun_at.map_or(*since, |begun_at| begun_at.min(*since)));
            if *owner != Owner::IsDone {
                held.push(*partition);
            }
        }
        let Some(begun_at) = begun_at else { return Vec::new() };
        let took = now.saturating_duration_since(begun_at);
        let is_held = !held.is_empty() && took < self.release_timeout;
        if is_held || self.is_committing_any(&revoked) {
            return Vec::new();
        }
        self.give_back(revoked, held, took)
    }

    /// The member leaves: what the group wants back is given back as it is.
    pub(super) fn give_back_now(&mut self) -> Vec<Effect> {
        let is_revoked = |state: &State| matches!(state, State::Revoked { .. });
        let owned = self.owned.iter().filter(|(_, state)| is_revoked(state));
        let revoked: Vec<i32> = owned.map(|(partition, _)| *partition).collect();
        if revoked.is_empty() { Vec::new() } else { self.give_back(revoked, Vec::new(), Duration::ZERO) }
    }

    fn give_back(&mut self, partitions: Vec<i32>, overdue: Vec<i32>, took: Duration) -> Vec<Effect> {
        self.owned.retain(|partition, _| !partitions.contains(partition));
        vec![Effect::GiveBack { partitions, overdue, took }]
    }

    /// Partitions are gone already.
    pub(super) fn lost(&mut self, partitions: &[i32]) -> Vec<Effect> {
        let gone = partitions.iter().filter_map(|p| Some((*p, self.owned.remove(p)?)));
        let is_told = |state: &State| matches!(state, State::Announced | State::Reading { .. });
        tell_revoked(gone.filter(|(_, state)| is_told(state)).map(|(partition, _)| partition).collect())
    }

    /// The member begins anew, with a new client: everything is gone, and no flag is set.
    pub(super) fn lost_all(&mut self) -> Vec<Effect> {
        let owned: Vec<i32> = self.owned.keys().copied().collect();
        self.gate = Gate::default();
        self.committing = None;
        self.lost(&owned)
    }

    /// Whether there is room for records. Reading stops while there is none, and the client is paused when
    /// that lasts.
    pub(super) fn may_read(&mut self, fill: Fill, now: Instant) -> (bool, Option<Effect>) {
        let read = |owned: &BTreeMap<i32, State>| {
            let read = owned.iter().filter(|(_, state)| matches!(state, State::Reading { .. }));
            read.map(|(partition, _)| *partition).collect()
        };
        match self.gate.turn(fill, now) {
            Turn::Read => (true, None),
            Turn::Wait => (false, None),
            Turn::Shut => (true, Some(Effect::Pause(read(&self.owned)))),
            Turn::Open => (true, Some(Effect::Resume(read(&self.owned)))),
        }
    }

    /// Whether the client is to fetch nothing.
    pub(super) fn is_paused(&self) -> bool {
        self.gate.is_shut()
    }

    /// The owner wants offsets committed, each with the epoch of the seek that led there. What it has lost
    /// since, or sought again, is left out. None while another commit is on its way.
    pub(super) fn commit(&mut self, offsets: &[(i32, u64, Offset)]) -> Option<Commit> {
        if self.committing.is_some() {
            return None;
        }
        let is_held = |(partition, epoch, _): &&(i32, u64, Offset)| match self.owned.get(partition) {
            Some(State::Reading { epoch: sought }) => sought == epoch,
            Some(State::Revoked { owner, .. }) => *owner == Owner::Holds { sought: Some(*epoch) },
            Some(State::LookingUp { .. } | State::Announced) | None => false,
        };
        let offsets: Vec<_> =
            offsets.iter().filter(is_held).map(|(partition, _, offset)| (*partition, *offset)).collect();
        let commit = Commit { number: self.next_epoch(), offsets };
        if !commit.offsets.is_empty() {
            self.committing = Some(commit.clone());
        }
        Some(commit)
    }

    /// A commit has come to its end.
    pub(super) fn committed(&mut self, number: u64, now: Instant) -> Vec<Effect> {
        self.committing.take_if(|commit| commit.number == number);
        self.give_back_when_due(now)
    }

    fn is_revoking(&self) -> bool {
        self.owned.values().any(|state| matches!(state, State::Revoked { .. }))
    }

    fn is_committing_any(&self, partitions: &[i32]) -> bool {
        let committing = self.committing.iter().flat_map(|commit| &commit.offsets);
        let committing: BTreeSet<i32> = committing.map(|(partition, _)| *partition).collect();
        partitions.iter().any(|partition| committing.contains(partition))
    }

    fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }
}

fn tell_revoked(partitions: Vec<i32>) -> Vec<Effect> {
    if partitions.is_empty() { Vec::new() } else { vec![Effect::TellRevoked(partitions)] }
}

#[cfg(test)]
mod tests;
