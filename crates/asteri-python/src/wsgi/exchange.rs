//! The gateway's view of the way to a client.
//!
//! The server's [`Responder`] is one; [`super::dry_run`] has another that keeps everything in memory.

use std::os::fd::OwnedFd;

use asteri_proto::h1::response::ResponseContext;
use asteri_server::{ClientGone, Responder};

/// Waits for a moment in which the client may take something. Anything may happen meanwhile, see [`Exchange::lag`]. An
/// exception that is thrown at a waiting greenlet stays set on return, as the interpreter's own functions leave it.
pub type Wait = Box<dyn FnOnce()>;

/// One answer on its way. See [`Responder`] for the contract of each method.
pub trait Exchange {
    /// What the response head depends on.
    fn context(&self) -> ResponseContext;
    /// The value for the `Date` field.
    fn date(&mut self) -> [u8; 29];
    /// Bytes that the next flush sends.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Sends what is in the buffer, without waiting for the client.
    ///
    /// # Errors
    /// When nobody is there to receive it.
    fn flush(&mut self) -> Result<(), ClientGone>;
    /// The same for a part that more will follow: it may be sent together with the next if that comes at once.
    ///
    /// # Errors
    /// When nobody is there to receive it.
    fn flush_part(&mut self) -> Result<(), ClientGone> {
        self.flush()
    }
    /// The same for the last part: it may be sent together with the responses of other requests.
    ///
    /// # Errors
    /// When nobody is there to receive it.
    fn flush_last(&mut self) -> Result<(), ClientGone> {
        self.flush()
    }
    /// Sends the buffer, then a part of a regular file.
    ///
    /// # Errors
    /// When nobody is there to receive it.
    fn send_file(&mut self, file: OwnedFd, offset: u64, len: u64) -> Result<(), ClientGone>;
    /// What to wait for before more is sent: the client is so far behind that no more should be kept for it. Asked again
    /// after the wait, which has nothing of the exchange and in which other requests may be served.
    ///
    /// # Errors
    /// When nobody is there to receive it.
    fn lag(&mut self) -> Result<Option<Wait>, ClientGone>;
    /// Sends what is left in the buffer and ends the response.
    fn finish(&mut self, keep_alive: bool);
    /// Breaks the connection: the response cannot be completed.
    fn abort(&mut self);
    /// Whether the client has left for certain.
    fn client_gone(&mut self) -> bool;
}

impl Exchange for Responder {
    #[inline]
    fn context(&self) -> ResponseContext {
        Responder::context(self)
    }

    #[inline]
    fn date(&mut self) -> [u8; 29] {
        Responder::date(self)
    }

    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        Responder::buffer(self)
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        Responder::flush(self)
    }

    fn flush_part(&mut self) -> Result<(), ClientGone> {
        Responder::flush_part(self)
    }

    fn flush_last(&mut self) -> Result<(), ClientGone> {
        Responder::flush_last(self)
    }

    #[inline]
    fn send_file(&mut self, file: OwnedFd, offset: u64, len: u64) -> Result<(), ClientGone> {
        Responder::send_file(self, file, offset, len)
    }

    #[inline]
    fn lag(&mut self) -> Result<Option<Wait>, ClientGone> {
        let lag = Responder::lag(self)?;
        Ok(lag.map(|lag| Box::new(|| lag.wait()) as Wait))
    }

    fn finish(&mut self, keep_alive: bool) {
        Responder::finish(self, keep_alive);
    }

    fn abort(&mut self) {
        Responder::abort(self);
    }

    fn client_gone(&mut self) -> bool {
        Responder::client_gone(self)
    }
}
