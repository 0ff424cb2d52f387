//! Decides how much of an answer a client gets, by what is known of it beside its query: whether it is
//! where it says it is, how much its network asks, and over what it came.

use std::net::IpAddr;
use std::time::Instant;

use crate::answer::Answer;
use crate::cookie::{Cookie, Secrets, Standing};
use crate::limit::{Limiter, Tone, Verdict};
use crate::message::Transport;
use crate::wire::code;
use crate::wire::edns::Edns;

/// What queries that come together are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    pub now: Instant,
    /// Seconds since 1970, for cookies.
    pub unix_seconds: u32,
    /// `None` if there are no cookies.
    pub secrets: Option<&'a Secrets>,
    /// `None` if nobody is limited.
    pub limiter: Option<&'a Limiter>,
    /// What the server is called, for those who ask (RFC 5001); empty if it does not say.
    pub name: &'a [u8],
    /// How many tenths of a second a connection may idle, for those who ask (RFC 7828).
    pub patience: u16,
}

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Answered,
    /// The client comes back with the cookie that it gets now (RFC 7873 section 5.2.3).
    CookieWanted,
    /// Nothing is sent.
    Dropped,
    /// The client comes back over TCP.
    Slipped,
}

impl Guard<'_> {
    /// A guard that lets everything pass.
    pub fn open(now: Instant) -> Self {
        Self {
            now,
            unix_seconds: 0,
            secrets: None,
            limiter: None,
            name: &[],
            patience: 0,
        }
    }

    /// Judges the cookie of a query, and makes the one that goes back.
    pub fn cookie(&self, edns: Option<&Edns<'_>>, client: IpAddr) -> Option<(Standing, Cookie)> {
        let sent = edns?.cookie?;
        Some(self.secrets?.judge(sent, client, self.unix_seconds))
    }

    /// How an answer of `tone` is treated. `standing` is that of the client's cookie, if it has one.
    pub fn treat(
        &self,
        client: IpAddr,
        transport: Transport,
        standing: Option<Standing>,
        tone: Tone,
        entropy: u64,
    ) -> Treatment {
        let Some(limiter) = self.limiter else {
            return Treatment::Answered;
        };
        // Who shook hands, or has a cookie, is where he says he is.
        if transport != Transport::Udp || standing == Some(Standing::Proven) {
            return Treatment::Answered;
        }
        match limiter.judge(client, tone, self.now, entropy) {
            Verdict::Send => Treatment::Answered,
            Verdict::Drop => Treatment::Dropped,
            Verdict::Slip if standing.is_some() => Treatment::CookieWanted,
            Verdict::Slip => Treatment::Slipped,
        }
    }
}

/// What `answer` says.
pub fn tone(answer: &Answer<'_>) -> Tone {
    match answer.code {
        // Other servers are an answer as well.
        code::NO_ERROR if !answer.answers.is_empty() || !answer.authoritative => Tone::Yes,
        code::NO_ERROR => Tone::NoData,
        code::NO_NAME => Tone::NoName,
        _ => Tone::Error,
    }
}

#[cfg(test)]
mod tests;
