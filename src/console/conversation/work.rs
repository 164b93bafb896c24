//! What a statement does: rows, copies, cursors, and what it changes in its session.

use std::sync::Arc;

use pgwire::api::portal::Format;

use super::{Conversation, Given, NAMES_MAX};
use crate::console::copy::CopyForm;
use crate::console::cursors::{self, Fetching, Opening};
use crate::console::fault::Fault;
use crate::console::prepared::Portal;
use crate::console::run::{Limits, Running, fields};
use crate::console::settings::Settings;
use crate::console::statement::{Effect, Work};
use crate::console::{Answer, PIECE_BYTES, wire};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::backend;
use crate::protocol::write;

impl Conversation {
    /// Does what a portal stands for; at most `rows_max` rows, 0: all.
    pub(super) async fn work(
        &mut self,
        portal: &mut Portal,
        rows_max: u64,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        let leaves =
            matches!(&portal.work, Work::Tell(_, Effect::Commit | Effect::Rollback | Effect::BackTo(_)));
        if !leaves {
            self.transaction.check()?;
        }
        match portal.work.clone() {
            Work::Nothing => wire::bare(&mut self.out, backend::EMPTY_QUERY_RESPONSE),
            Work::Tell(tag, effect) => {
                let is_lost = effect == Effect::Commit && self.transaction.status() == b'E';
                self.effect(effect)?;
                self.done(given, if is_lost { "ROLLBACK" } else { tag });
            }
            Work::Rows(plan) => {
                let mut running = match portal.running.take() {
                    Some(running) => running,
                    None => {
                        let fields = fields(&plan, &portal.format)?;
                        if portal.is_described {
                            wire::row_description(&mut self.out, &fields);
                        }
                        let values = portal.values.take();
                        Running::start(&self.console, &self.context, plan, values, fields)?
                    }
                };
                let most = (rows_max > 0).then_some(rows_max);
                if self.rows(&mut running, most, given, limits).await? {
                    let tag = format!("SELECT {}", given.rows);
                    self.done(given, &tag);
                } else {
                    given.suspended = true;
                    wire::bare(&mut self.out, backend::PORTAL_SUSPENDED);
                }
                portal.running = Some(running);
            }
            Work::Copy(plan, form) => {
                let fields = fields(&plan, &form.format())?;
                let values = portal.values.take();
                let mut running = Running::start(&self.console, &self.context, plan, values, fields)?;
                self.copy(&mut running, &form, given, limits).await?;
            }
            Work::Open(opening) => self.open(*opening, portal, given)?,
            Work::Fetch(fetching) => self.fetch(fetching, (portal, rows_max), given, limits).await?,
        }
        Ok(())
    }

    fn done(&mut self, given: &mut Given, tag: &str) {
        tag.clone_into(&mut given.tag);
        wire::command_complete(&mut self.out, tag);
    }

    /// Sends rows, at most so many; answers whether it knows that there are no more.
    async fn rows(
        &mut self,
        running: &mut Running,
        most: Option<u64>,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<bool, Fault> {
        let first = given.rows;
        while most.is_none_or(|most| given.rows.saturating_sub(first) < most) {
            let Some(row) = running.next(limits).await? else { return Ok(true) };
            given.rows = given.rows.saturating_add(1);
            let before = self.out.len();
            wire::data_row(&mut self.out, &row);
            self.count(given, before);
            self.piece(limits).await?;
        }
        Ok(false)
    }

    async fn copy(
        &mut self,
        running: &mut Running,
        form: &CopyForm,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        let fields = running.fields();
        form.begin(&mut self.out, &fields);
        let first = given.rows;
        while let Some(row) = running.next(limits).await? {
            let before = self.out.len();
            form.row(&mut self.out, &fields, &row, given.rows == first);
            given.rows = given.rows.saturating_add(1);
            self.count(given, before);
            self.piece(limits).await?;
        }
        form.end(&mut self.out, given.rows == first);
        wire::bare(&mut self.out, backend::COPY_DONE);
        let tag = format!("COPY {}", given.rows);
        self.done(given, &tag);
        Ok(())
    }

    /// Opens a cursor and begins to run its query.
    fn open(&mut self, opening: Opening, portal: &mut Portal, given: &mut Given) -> Result<(), Fault> {
        let Opening { name, plan, is_binary, holds } = opening;
        if !holds {
            self.transaction.needed("DECLARE CURSOR")?;
        }
        if self.portals.contains_key(name.as_bytes()) {
            let text = format!("cursor \"{name}\" already exists");
            return Err(Fault::new(SqlState::DUPLICATE_CURSOR, text));
        }
        if self.portals.len() >= NAMES_MAX {
            let text = format!("more than {NAMES_MAX} portals");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        let format = if is_binary { Format::UnifiedBinary } else { Format::UnifiedText };
        let fields = fields(&plan, &format)?;
        let running =
            Running::start(&self.console, &self.context, plan.clone(), portal.values.take(), fields)?;
        let mut cursor = Portal::of(Work::Rows(plan));
        cursor.format = format;
        cursor.running = Some(running);
        cursor.is_binary = is_binary;
        cursor.holds = holds;
        cursor.is_new = self.transaction.status() != b'I';
        self.portals.insert(name.into_bytes(), cursor);
        self.done(given, "DECLARE CURSOR");
        Ok(())
    }

    /// Gives rows of a cursor, or passes them over. A cursor whose query fails is gone.
    async fn fetch(
        &mut self,
        fetching: Fetching,
        (portal, rows_max): (&mut Portal, u64),
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        let missing = || cursors::missing(&fetching.name);
        let mut cursor = self.portals.remove(fetching.name.as_bytes()).ok_or_else(missing)?;
        let Work::Rows(plan) = &cursor.work else { return Err(missing()) };
        let format = if cursor.is_binary { Format::UnifiedBinary } else { portal.format.clone() };
        let fields = fields(plan, &format)?;
        let mut running = match cursor.running.take() {
            Some(running) => running,
            None => {
                let (plan, values) = (plan.clone(), cursor.values.take());
                Running::start(&self.console, &self.context, plan, values, Arc::clone(&fields))?
            }
        };
        if fetching.moves {
            let mut passed = 0_u64;
            while fetching.count.is_none_or(|count| passed < count) && running.next(limits).await?.is_some() {
                passed = passed.saturating_add(1);
            }
            self.done(given, &format!("MOVE {passed}"));
        } else {
            if portal.is_described {
                wire::row_description(&mut self.out, &fields);
            }
            running.encode_as(fields);
            let most = [fetching.count, (rows_max > 0).then_some(rows_max)].into_iter().flatten().min();
            let is_end = self.rows(&mut running, most, given, limits).await?;
            let left = fetching.count.map(|count| count.saturating_sub(given.rows));
            if is_end || left == Some(0) {
                let tag = format!("FETCH {}", given.rows);
                self.done(given, &tag);
            } else {
                portal.work = Work::Fetch(Fetching { count: left, ..fetching.clone() });
                given.suspended = true;
                wire::bare(&mut self.out, backend::PORTAL_SUSPENDED);
            }
        }
        cursor.running = Some(running);
        self.portals.insert(fetching.name.into_bytes(), cursor);
        Ok(())
    }

    fn count(&self, given: &mut Given, before: usize) {
        let more = self.out.len().saturating_sub(before);
        given.bytes = given.bytes.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    }

    /// Sends what has gathered; waits while the client is slow, no longer than the statement may take.
    async fn piece(&mut self, limits: &Limits<'_>) -> Result<(), Fault> {
        if self.out.len() < PIECE_BYTES {
            return Ok(());
        }
        let answer = Answer { bytes: std::mem::take(&mut self.out), ready: self.ready.take() };
        let sent = limits.within(self.outgoing.send(answer)).await?;
        sent.map_err(|_| Fault::new(SqlState::CONNECTION_FAILURE, "the client has left"))
    }

    fn effect(&mut self, effect: Effect) -> Result<(), Fault> {
        let before = self.settings.clone();
        match effect {
            Effect::None => {}
            Effect::Begin(modes) => {
                self.transaction.begin(&self.settings);
                modes.iter().for_each(|(name, value)| self.settings.put(name, value, true));
            }
            Effect::Modes(modes) => {
                if self.transaction.status() == b'T' {
                    modes.iter().for_each(|(name, value)| self.settings.put(name, value, true));
                }
            }
            Effect::Commit => self.end(true),
            Effect::Rollback => self.end(false),
            Effect::Savepoint(name) => self.transaction.savepoint(name, &self.settings)?,
            Effect::Release(name) => self.transaction.release(&name)?,
            Effect::BackTo(name) => self.transaction.back_to(&name, &mut self.settings)?,
            // Outside of a transaction what is local is over at once.
            Effect::Set { is_local: true, .. } if self.transaction.status() == b'I' => {}
            Effect::Set { name, value, is_local } => self.settings.put(&name, &value, is_local),
            Effect::Reset(name) => self.settings.reset(name.as_deref()),
            Effect::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            Effect::Deallocate(None) => self.statements.clear(),
            Effect::Close(Some(name)) => {
                self.portals.remove(name.as_bytes()).ok_or_else(|| cursors::missing(&name))?;
            }
            Effect::Close(None) => self.portals.clear(),
            Effect::Discard => {
                self.settings.reset(None);
                self.statements.clear();
                self.portals.clear();
            }
        }
        self.report(&before);
        self.told.tell(&self.settings);
        Ok(())
    }

    /// The transaction ends, and with it what does not outlive it.
    fn end(&mut self, commits: bool) {
        let stays = self.transaction.end(&mut self.settings, commits);
        self.portals.retain(|_, portal| portal.holds && (stays || !portal.is_new));
        self.portals.values_mut().for_each(|portal| portal.is_new = false);
    }

    /// Tells the client of settings that are not as they were.
    fn report(&mut self, before: &Settings) {
        for ((name, old), (_, new)) in before.reported().zip(self.settings.reported()) {
            if old != new {
                write::parameter_status(&mut self.out, name.as_bytes(), new.as_bytes());
            }
        }
    }
}
