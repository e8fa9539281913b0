//! Requests that come as packets of the uwsgi protocol.
//!
//! A packet is translated where it stands: the buffer that it was received in becomes one that has a head in its place, and from
//! there on nobody needs to know. There is one request on a connection.

use super::Reactor;
use crate::slab::Key;
use asteri_proto::error::ProtocolError;
use asteri_proto::h1::connection::Event;
use asteri_proto::h1::request::RequestHead;
use asteri_proto::uwsgi::{self, UWSGI_NOT_ALLOWED};

impl Reactor {
    /// Looks for a packet at the start of `buffer`, and puts a head in its place. As `Connection::receive` of HTTP/1.
    pub(super) fn receive_packet(
        &mut self,
        key: Key,
        buffer: &mut Vec<u8>,
        head: &mut RequestHead,
    ) -> Result<(usize, Event), ProtocolError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok((0, Event::NeedData)) };
        if !connection.may_speak {
            return Err(UWSGI_NOT_ALLOWED);
        }
        let config = self.settings.http_of(connection.trusted);
        let mut translated = Vec::new();
        let Some(length) = uwsgi::receive(buffer, &mut translated, head, config)? else {
            if !buffer.is_empty() {
                connection.http.head_begins(self.now);
            }
            return Ok((0, Event::NeedData));
        };
        translated.extend_from_slice(&buffer[length..]);
        *buffer = translated;
        connection.http.head_ends(head, config, self.now);
        Ok((head.len, Event::Head))
    }
}
