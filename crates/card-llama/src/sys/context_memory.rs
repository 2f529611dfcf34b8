//! The KV cache of a context, which llama.cpp calls its memory: what belongs to which sequence id.

use llama_cpp_sys_2 as cpp;

use super::context::Context;
use super::log;
use super::memory::{MemoryOp, SeqId};
use super::shim::{self, Thrown};

/// Of what an id holds, only what cannot be taken back token by token: its recurrent state. It is
/// llama.cpp's `LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`, which no bindings have; shim.cpp compares the
/// two.
const RECURRENT_STATE: cpp::llama_state_seq_flags = 1;

/// The KV cache.
impl Context {
    fn memory(&self) -> cpp::llama_memory_t {
        // SAFETY: the context is alive.
        unsafe { cpp::llama_get_memory(self.raw.as_ptr()) }
    }

    /// llama.cpp ends the process over an id beyond those a context has.
    fn check_id(&self, id: SeqId) {
        assert!(
            usize::try_from(id).is_ok_and(|id| id < self.ids),
            "sequence id {id} of {}",
            self.ids
        );
    }

    /// Empties the cache; with its data, or only of what it says of it.
    pub(crate) fn clear(&mut self, data: bool) -> Result<(), Thrown> {
        // SAFETY: the memory is the context's own.
        unsafe { shim::llama_memory_clear(self.memory(), data) }
    }

    /// Cells of `from` at the positions `start..end` belong to `to` as well; up to the last if
    /// `end` is negative.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn copy(
        &mut self,
        from: SeqId,
        to: SeqId,
        start: u32,
        end: i32,
    ) -> Result<(), Thrown> {
        self.check_id(from);
        self.check_id(to);
        let start = self.position(start) as i32;
        let end = u32::try_from(end).map_or(end, |end| self.position(end) as i32);
        // SAFETY: the memory is the context's own; ids are below n_seq_max, as was checked.
        unsafe { shim::llama_memory_seq_cp(self.memory(), from, to, start, end) }
    }

    /// Cells of `id` from position `start` on no longer belong to it. `false` if llama.cpp cannot
    /// remove them.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn remove(&mut self, id: SeqId, start: u32) -> Result<bool, Thrown> {
        self.check_id(id);
        let start = self.position(start) as i32;
        // SAFETY: as above.
        unsafe { shim::llama_memory_seq_rm(self.memory(), id, start, -1) }
    }

    /// Carries out a change; `false` if llama.cpp cannot remove these cells.
    ///
    /// # Panics
    /// If there is no such id.
    pub(crate) fn change(&mut self, op: MemoryOp) -> Result<bool, Thrown> {
        match op {
            MemoryOp::Copy { from, to, end } => {
                self.copy(from, to, 0, end as i32)?;
                Ok(true)
            }
            MemoryOp::CopyAll { from, to } => {
                self.copy(from, to, 0, -1)?;
                Ok(true)
            }
            MemoryOp::Remove { id, start } => self.remove(id, start),
        }
    }

    /// What the cache holds of an id.
    ///
    /// # Errors
    /// Says why llama.cpp cannot give it.
    pub(crate) fn save(&mut self, id: SeqId) -> Result<Vec<u8>, String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else.
        let size = unsafe { shim::llama_state_seq_get_size(raw, id) };
        let size = size.map_err(|e| e.to_string())?;
        let mut bytes = vec![0u8; size];
        // SAFETY: as above; the buffer is as long as said.
        let n = unsafe { shim::llama_state_seq_get_data(raw, bytes.as_mut_ptr(), size, id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            n if n != size => Err(format!("{n} bytes of {size} came")),
            _ => Ok(bytes),
        }
    }

    /// Bytes of the recurrent state of an id when it is saved.
    ///
    /// # Errors
    /// Says why llama.cpp cannot say.
    pub(crate) fn state_size(&mut self, id: SeqId) -> Result<usize, String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else.
        let size = unsafe { shim::llama_state_seq_get_size_ext(raw, id, RECURRENT_STATE) };
        match size.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            size => Ok(size),
        }
    }

    /// The recurrent state of an id. The cells of attention, which a hybrid model has beside it, are
    /// not in it.
    ///
    /// # Errors
    /// Says why llama.cpp cannot give it, or that there is no memory.
    pub(crate) fn save_state(&mut self, id: SeqId) -> Result<Vec<u8>, String> {
        let size = self.state_size(id)?;
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(size);
        room.map_err(|_| format!("there is no memory for {size} bytes"))?;
        bytes.resize(size, 0u8);
        let (raw, into) = (self.raw.as_ptr(), bytes.as_mut_ptr());
        // SAFETY: the context is alive and used by nobody else; the buffer is as long as said.
        let n = unsafe { shim::llama_state_seq_get_data_ext(raw, into, size, id, RECURRENT_STATE) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            n if n != size => Err(format!("{n} bytes of {size} came")),
            _ => Ok(bytes),
        }
    }

    /// Gives an id the recurrent state that [`Context::save_state`] gave, in place of its own.
    ///
    /// # Errors
    /// Says why llama.cpp cannot take it.
    pub(crate) fn restore_state(&mut self, id: SeqId, bytes: &[u8]) -> Result<(), String> {
        self.check_id(id);
        log::forget();
        let (raw, size) = (self.raw.as_ptr(), bytes.len());
        // SAFETY: the context is alive and used by nobody else; the bytes are as many as said.
        let n = unsafe {
            shim::llama_state_seq_set_data_ext(raw, bytes.as_ptr(), size, id, RECURRENT_STATE)
        };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            _ => Ok(()),
        }
    }

    /// Puts in again what [`Context::save`] gave.
    ///
    /// # Errors
    /// Says why llama.cpp cannot take it.
    pub(crate) fn restore(&mut self, id: SeqId, bytes: &[u8]) -> Result<(), String> {
        self.check_id(id);
        log::forget();
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and used by nobody else; the bytes are as many as said.
        let n = unsafe { shim::llama_state_seq_set_data(raw, bytes.as_ptr(), bytes.len(), id) };
        match n.map_err(|e| e.to_string())? {
            0 => Err(log::reason()),
            _ => Ok(()),
        }
    }
}
