//! The Watch service: one task per stream, that answers requests and sends what is due.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbWatchRequest, PbWatchResponse, PbWatchService};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::database::Database;
use super::gate::{Caller, Gate};
use super::intake::{Allowance, within};
use super::limits::Slot;
use super::status::{stopped, too_many_requests};
use super::usage::{Pending, Usage};
use super::watches::Watches;

/// Responses on their way to a slow client. Each holds about a mebibyte, or one large revision, and
/// what does not fit waits in history.
const RESPONSES_MAX: usize = 1;

/// As etcd: how often a quiet watch hears about progress, if it asked for it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

pub(super) struct Watch {
    database: Arc<Database>,
    gate: Gate,
    usage: Usage,
}

impl Watch {
    pub(super) fn new(database: Arc<Database>, gate: Gate, usage: Usage) -> Self {
        Self {
            database,
            gate,
            usage,
        }
    }
}

#[async_trait]
impl PbWatchService for Watch {
    type WatchStream = BoxStream<'static, Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.gate.caller(&request);
        let slot = self.usage.watch_streams.take();
        let slot = slot.ok_or_else(too_many_requests)?;
        let allowance = request.extensions().get::<Allowance>().cloned();
        let (responses, receiver) = mpsc::channel(RESPONSES_MAX);
        let stream = Stream {
            database: Arc::clone(&self.database),
            usage: self.usage.clone(),
            watches: Watches::new(caller.permission(), self.usage.clone()),
            caller,
            responses,
            _slot: slot,
        };
        tokio::spawn(stream.run(within(allowance, request.into_inner())));
        let responses = ReceiverStream::new(receiver).map(|(response, _pending)| response);
        Ok(Response::new(responses.boxed()))
    }
}

/// What a client says on a stream.
trait Requests: futures_util::Stream<Item = Result<PbWatchRequest, Status>> + Send + 'static {}

impl<T: futures_util::Stream<Item = Result<PbWatchRequest, Status>> + Send + 'static> Requests
    for T
{
}

struct Stream {
    database: Arc<Database>,
    caller: Caller,
    usage: Usage,
    watches: Watches,
    responses: mpsc::Sender<(Result<PbWatchResponse, Status>, Pending)>,
    _slot: Slot,
}

/// The client is gone.
struct Closed;

/// Everything that can wake a stream.
enum Input {
    /// The store, or what the client may do.
    Changed,
    Closed,
    ProgressDue,
    Request(Result<PbWatchRequest, Status>),
    RequestsEnded,
    Stopped,
}

impl Stream {
    async fn run(mut self, requests: impl Requests) {
        // `Closed` only ends the task: nobody is left to tell.
        let _ = self.serve(requests).await;
    }

    async fn serve(&mut self, requests: impl Requests) -> Result<(), Closed> {
        let mut changes = self.database.changes();
        let mut permissions = self.caller.changes();
        let mut stop = std::pin::pin!(self.database.stopped());
        let requests = requests
            .map(Input::Request)
            .chain(futures_util::stream::iter([Input::RequestsEnded]));
        let mut requests = std::pin::pin!(requests);
        let mut progress = progress_interval();
        loop {
            self.send_due().await?;
            // What is rare before what may come without end; and what is due is sent in any case.
            let input = tokio::select! {
                biased;
                () = &mut stop => Input::Stopped,
                () = self.responses.closed() => Input::Closed,
                _ = progress.tick() => Input::ProgressDue,
                Some(input) = requests.next() => input,
                Ok(()) = changes.changed() => Input::Changed,
                () = permissions.next() => Input::Changed,
            };
            match input {
                // A client may end its side and still listen.
                Input::Changed | Input::RequestsEnded => (),
                Input::Closed | Input::Request(Err(_)) => return Err(Closed),
                Input::ProgressDue => self.notify_progress().await?,
                Input::Request(Ok(request)) => self.answer(request).await?,
                Input::Stopped => {
                    let end = (Err(stopped()), self.usage.pending(0));
                    return self.responses.send(end).await.map_err(|_| Closed);
                }
            }
        }
    }

    /// Sends until every watch has seen everything; waits whenever the client is slower.
    async fn send_due(&mut self) -> Result<(), Closed> {
        loop {
            let (revoked, step) = self.database.with_head(|store, head| {
                let permission = self.caller.permission();
                let revoked = self.watches.permit(permission, head);
                (revoked, self.watches.step(store, head))
            });
            for response in revoked.into_iter().chain(step.responses) {
                self.send(response).await?;
            }
            if !step.behind {
                return Ok(());
            }
        }
    }

    async fn answer(&mut self, request: PbWatchRequest) -> Result<(), Closed> {
        let Some(request) = request.request_union else {
            return Ok(());
        };
        let (revoked, answer) = self.database.with_head(|_, head| {
            let revoked = self.watches.permit(self.caller.permission(), head);
            (revoked, self.watches.handle_request(request, head))
        });
        for response in revoked.into_iter().chain(answer) {
            self.send(response).await?;
        }
        Ok(())
    }

    async fn notify_progress(&mut self) -> Result<(), Closed> {
        let head = self.database.with_head(|_, head| head);
        for response in self.watches.notify_progress(head) {
            self.send(response).await?;
        }
        Ok(())
    }

    async fn send(&self, mut response: PbWatchResponse) -> Result<(), Closed> {
        self.database.sign(&mut response.header);
        let pending = self.usage.pending(response.events.len());
        let response = (Ok(response), pending);
        self.responses.send(response).await.map_err(|_| Closed)
    }
}

fn progress_interval() -> Interval {
    let mut interval = interval(PROGRESS_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}
