//! Why a stream or a connection ends (RFC 9113 §7).

/// An error code. Those that RFC 9113 does not name are possible, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

macro_rules! reasons {
    ($($name:ident $code:literal $means:literal;)*) => {
        impl Reason {
            $(
                #[doc = concat!($means, ".")]
                pub const $name: Self = Self($code);
            )*

            /// What RFC 9113 calls it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    _ => "unknown error code",
                }
            }
        }
    };
}

reasons! {
    NO_ERROR 0 "Nothing is wrong";
    PROTOCOL_ERROR 1 "A rule was broken for which there is no other code";
    INTERNAL_ERROR 2 "The sender of the code has failed";
    FLOW_CONTROL_ERROR 3 "More was sent than there was room for";
    SETTINGS_TIMEOUT 4 "Settings were not acknowledged in time";
    STREAM_CLOSED 5 "A frame came on a stream that was over";
    FRAME_SIZE_ERROR 6 "A frame has a size that it cannot have";
    REFUSED_STREAM 7 "Nothing was done with the request, which may be repeated";
    CANCEL 8 "The stream is not needed any more";
    COMPRESSION_ERROR 9 "A field section cannot be decompressed";
    CONNECT_ERROR 10 "A connection made for CONNECT has failed";
    ENHANCE_YOUR_CALM 11 "The peer does too much of what serves nothing";
    INADEQUATE_SECURITY 12 "TLS is not as it has to be";
    HTTP_1_1_REQUIRED 13 "The request is to be made with HTTP/1.1";
}

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code.
    pub reason: Reason,
    /// The peer has told so; else we have found it.
    pub remote: bool,
    /// With what kind of frame the peer has flooded us, if it has.
    pub flood: Option<&'static str>,
}

impl Fault {
    /// One that was found here.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        Self { reason, remote: false, flood: None }
    }
}
