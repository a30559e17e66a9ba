//! Who reads which partition: the members of one consumer group, in memory.
//!
//! A partition has at most one holder. It changes hands in steps that the members drive: the holder is
//! told, it releases, the next one takes. Nothing here waits.

use crate::account::Partition;

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MemberId(pub(super) u64);

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Who may read and commit it now.
    holder: Option<MemberId>,
    /// Who is to have it.
    target: Option<MemberId>,
    /// Whether the holder knows that it is to give it back.
    told: bool,
}

/// A consumer group's members and their partitions.
#[derive(Debug)]
pub(super) struct Group {
    members: Vec<MemberId>,
    slots: Vec<Slot>,
}

impl Group {
    pub(super) fn new(partitions: u32) -> Self {
        Self { members: Vec::new(), slots: vec![Slot::default(); partitions as usize] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn join(&mut self, member: MemberId) {
        self.members.push(member);
        self.retarget();
    }

    /// Takes the member out; what it held is free at once.
    pub(super) fn leave(&mut self, member: MemberId) {
        self.members.retain(|known| *known != member);
        for slot in &mut self.slots {
            if slot.holder == Some(member) {
                *slot = Slot { holder: None, told: false, ..*slot };
            }
        }
        self.retarget();
    }

    pub(super) fn holds(&self, member: MemberId, partition: Partition) -> bool {
        self.slots.get(partition.0 as usize).is_some_and(|slot| slot.holder == Some(member))
    }

    /// Partitions the member is to give back and has not been told of; now it has.
    pub(super) fn take_revoked(&mut self, member: MemberId) -> Vec<Partition> {
        self.take(|slot| {
            let revoked = slot.holder == Some(member) && slot.target != Some(member) && !slot.told;
            slot.told |= revoked;
            revoked
        })
    }

    /// Free partitions that are meant for the member; now it holds them.
    pub(super) fn take_assigned(&mut self, member: MemberId) -> Vec<Partition> {
        self.take(|slot| {
            let assigned = slot.holder.is_none() && slot.target == Some(member);
            if assigned {
                slot.holder = Some(member);
                slot.told = false;
            }
            assigned
        })
    }

    /// Frees the partitions that the member holds.
    pub(super) fn release(&mut self, member: MemberId, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(slot) = self.slots.get_mut(partition.0 as usize)
                && slot.holder == Some(member)
            {
                *slot = Slot { holder: None, told: false, ..*slot };
            }
        }
    }

    fn take(&mut self, mut taken: impl FnMut(&mut Slot) -> bool) -> Vec<Partition> {
        (0..)
            .map(Partition)
            .zip(&mut self.slots)
            .filter_map(|(p, slot)| taken(slot).then_some(p))
            .collect()
    }

    /// Spreads the partitions evenly, and moves as few as that allows.
    fn retarget(&mut self) {
        let quotas = self.quotas();
        let mut counts = vec![0; self.members.len()];
        let mut homeless = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let member = self.members.iter().position(|member| Some(*member) == slot.target);
            match member {
                Some(member) if counts[member] < quotas[member] => counts[member] += 1,
                Some(_) | None => homeless.push(index),
            }
        }
        for index in homeless {
            let member = (0..counts.len()).find(|member| counts[*member] < quotas[*member]);
            self.slots[index].target = member.map(|member| {
                counts[member] += 1;
                self.members[member]
            });
        }
    }

    /// How many partitions each member is to have; those who have most keep one more.
    fn quotas(&self) -> Vec<usize> {
        let members = self.members.len();
        if members == 0 {
            return Vec::new();
        }
        let (share, rest) = (self.slots.len() / members, self.slots.len() % members);
        let targets = |member| self.slots.iter().filter(|slot| slot.target == Some(member)).count();
        let mut by_count: Vec<usize> = (0..members).collect();
        by_count.sort_by_key(|member| std::cmp::Reverse(targets(self.members[*member])));
        let mut quotas = vec![share; members];
        for member in &by_count[..rest] {
            quotas[*member] += 1;
        }
        quotas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);
    const C: MemberId = MemberId(3);

    fn group_of_a(partitions: u32) -> Group {
        let mut group = Group::new(partitions);
        group.join(A);
        assert_eq!(group.take_assigned(A).len(), partitions as usize);
        group
    }

    #[test]
    fn a_second_member_gets_half_and_only_after_it_was_released() {
        let mut group = group_of_a(5);
        group.join(B);
        assert_eq!(group.take_assigned(B), []);
        let revoked = group.take_revoked(A);
        assert_eq!(revoked.len(), 2);
        assert_eq!(group.take_revoked(A), [], "told once");
        assert_eq!(group.take_assigned(B), [], "still held");
        group.release(A, &revoked);
        assert_eq!(group.take_assigned(B), revoked);
        assert!(revoked.iter().all(|partition| group.holds(B, *partition)));
    }

    #[test]
    fn a_third_member_moves_no_more_than_its_share() {
        let mut group = group_of_a(12);
        group.join(B);
        let moved = group.take_revoked(A);
        group.release(A, &moved);
        assert_eq!(group.take_assigned(B).len(), 6);
        group.join(C);
        assert_eq!((group.take_revoked(A).len(), group.take_revoked(B).len()), (2, 2));
    }

    #[test]
    fn what_a_leaver_held_is_free_at_once() {
        let mut group = group_of_a(4);
        group.join(B);
        group.leave(A);
        assert_eq!(group.take_assigned(B).len(), 4);
    }

    #[test]
    fn whoever_was_told_must_release_even_if_it_gets_the_partition_back() {
        let mut group = group_of_a(2);
        group.join(B);
        let revoked = group.take_revoked(A);
        group.leave(B);
        assert_eq!(group.take_assigned(A), []);
        group.release(A, &revoked);
        assert_eq!(group.take_assigned(A), revoked);
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let mut group = group_of_a(1);
        group.join(B);
        assert_eq!(group.take_revoked(A), []);
        assert_eq!(group.take_assigned(B), []);
    }
}
