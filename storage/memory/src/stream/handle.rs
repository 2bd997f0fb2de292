//! [`Stream`] for an open stream.

use super::super::garbage::Garbage;
use super::super::handle::Handle;
use super::StreamValue;
use super::group::Group;
use std::collections::VecDeque;
use storage::Result;
use storage::stream::{
    ConsumerInfo, GroupInfo, Pending, Stream, StreamId, StreamInfo, Trim, VisitEntry, VisitPending,
};

impl Handle<'_, StreamValue> {
    /// Runs `change` on a group, which says by how much the bytes held changed.
    fn on_group<T>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group) -> (T, isize),
    ) -> Option<T> {
        let stream = self.value_mut();
        let (result, bytes) = change(stream.groups.get_mut(name)?);
        stream.group_bytes = stream.group_bytes.saturating_add_signed(bytes);
        Some(result)
    }
}

impl Stream for Handle<'_, StreamValue> {
    fn info(&mut self) -> Result<StreamInfo> {
        Ok(self.value().info())
    }

    fn set_ids(
        &mut self,
        last_id: StreamId,
        max_deleted_id: Option<StreamId>,
        entries_added: Option<u64>,
    ) -> Result<()> {
        let stream = self.value_mut();
        stream.last_id = last_id;
        stream.max_deleted_id = max_deleted_id.unwrap_or(stream.max_deleted_id);
        stream.entries_added = entries_added.unwrap_or(stream.entries_added);
        Ok(())
    }

    fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) -> Result<()> {
        let (stream, _, limits, _) = self.parts_mut();
        stream.append(limits, id, fields);
        Ok(())
    }

    fn contains(&mut self, id: StreamId) -> Result<bool> {
        Ok(self.value().contains(id))
    }

    fn delete(&mut self, id: StreamId) -> Result<bool> {
        Ok(self.value_mut().delete(id))
    }

    fn range(
        &mut self,
        first: StreamId,
        last: StreamId,
        reverse: bool,
        visit: VisitEntry<'_>,
    ) -> Result<()> {
        self.value().range(first, last, reverse, visit);
        Ok(())
    }

    fn trim(&mut self, trim: &Trim) -> Result<u64> {
        let (gone, nodes) = self.value_mut().trim(trim);
        self.discard(StreamValue::remains(nodes, None).map(Garbage::Stream));
        Ok(gone)
    }

    fn groups(&mut self, visit: &mut dyn FnMut(&[u8], &GroupInfo)) -> Result<()> {
        self.value().groups.iter().for_each(|(name, group)| visit(name, &group.info()));
        Ok(())
    }

    fn group(&mut self, name: &[u8]) -> Result<Option<GroupInfo>> {
        Ok(self.value().groups.get(name).map(Group::info))
    }

    fn set_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<bool> {
        let stream = self.value_mut();
        if let Some(group) = stream.groups.get_mut(name) {
            (group.last_id, group.entries_read) = (last_id, entries_read);
            return Ok(false);
        }
        stream.groups.insert(name.into(), Group::new(last_id, entries_read));
        stream.group_bytes += Group::own_bytes(name);
        Ok(true)
    }

    fn remove_group(&mut self, name: &[u8]) -> Result<bool> {
        let stream = self.value_mut();
        let Some(group) = stream.groups.remove(name) else { return Ok(false) };
        stream.group_bytes -= Group::own_bytes(name) + group.bytes();
        self.discard(StreamValue::remains(VecDeque::new(), Some(group)).map(Garbage::Stream));
        Ok(true)
    }

    fn consumers(
        &mut self,
        group: &[u8],
        visit: &mut dyn FnMut(&[u8], &ConsumerInfo),
    ) -> Result<()> {
        self.value().groups.get(group).into_iter().for_each(|group| group.consumers(visit));
        Ok(())
    }

    fn consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<ConsumerInfo>> {
        Ok(self.value().groups.get(group).and_then(|group| group.consumer(name)))
    }

    fn set_consumer(
        &mut self,
        group: &[u8],
        name: &[u8],
        seen_ms: u64,
        active_ms: Option<u64>,
    ) -> Result<bool> {
        let set = self.on_group(group, |group| group.set_consumer(name, seen_ms, active_ms));
        Ok(set.unwrap_or(false))
    }

    fn remove_consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<u64>> {
        let removed = self.on_group(group, |group| match group.remove_consumer(name) {
            Some((pending, bytes)) => (Some(pending), bytes),
            None => (None, 0),
        });
        Ok(removed.flatten())
    }

    fn pending(
        &mut self,
        group: &[u8],
        consumer: Option<&[u8]>,
        first: StreamId,
        last: StreamId,
        visit: VisitPending<'_>,
    ) -> Result<()> {
        if let Some(group) = self.value().groups.get(group) {
            group.pending(consumer, first, last, visit);
        }
        Ok(())
    }

    fn pending_ends(&mut self, group: &[u8]) -> Result<Option<(StreamId, StreamId)>> {
        Ok(self.value().groups.get(group).and_then(Group::pending_ends))
    }

    fn set_pending(&mut self, group: &[u8], pending: &Pending<'_>) -> Result<()> {
        self.on_group(group, |group| ((), group.set_pending(pending)));
        Ok(())
    }

    fn remove_pending(&mut self, group: &[u8], id: StreamId) -> Result<bool> {
        let removed = self.on_group(group, |group| match group.remove_pending(id) {
            true => (true, -(Group::pending_bytes() as isize)),
            false => (false, 0),
        });
        Ok(removed.unwrap_or(false))
    }
}
