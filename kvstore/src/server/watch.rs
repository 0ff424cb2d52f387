//! The Watch service: one task per stream, that answers requests and sends what is due.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbWatchRequest, PbWatchResponse, PbWatchService};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::database::Database;
use super::gate::Gate;
use super::status::stopped;
use super::watches::Watches;

/// Responses on their way to a slow client. Each holds about a mebibyte at most, and what does not
/// fit waits in history.
const RESPONSES_MAX: usize = 4;

/// As etcd: how often a quiet watch hears about progress, if it asked for it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

pub(super) struct Watch {
    database: Arc<Database>,
    gate: Gate,
}

impl Watch {
    pub(super) fn new(database: Arc<Database>, gate: Gate) -> Self {
        Self { database, gate }
    }
}

#[async_trait]
impl PbWatchService for Watch {
    type WatchStream = ReceiverStream<Result<PbWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let permission = self.gate.permission(&request);
        permission.check_known()?;
        let (responses, receiver) = mpsc::channel(RESPONSES_MAX);
        let stream = Stream {
            database: Arc::clone(&self.database),
            watches: Watches::new(permission),
            responses,
        };
        tokio::spawn(stream.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

struct Stream {
    database: Arc<Database>,
    watches: Watches,
    responses: mpsc::Sender<Result<PbWatchResponse, Status>>,
}

/// The client is gone.
struct Closed;

/// Everything that can wake a stream.
enum Input {
    Changed,
    Closed,
    ProgressDue,
    Request(Result<PbWatchRequest, Status>),
    RequestsEnded,
    Stopped,
}

impl Stream {
    async fn run(mut self, requests: Streaming<PbWatchRequest>) {
        // `Closed` only ends the task: nobody is left to tell.
        let _ = self.serve(requests).await;
    }

    async fn serve(&mut self, requests: Streaming<PbWatchRequest>) -> Result<(), Closed> {
        let mut changes = self.database.changes();
        let mut stop = std::pin::pin!(self.database.stopped());
        let mut requests = requests
            .map(Input::Request)
            .chain(futures_util::stream::iter([Input::RequestsEnded]));
        let mut progress = progress_interval();
        loop {
            self.send_due().await?;
            let input = tokio::select! {
                Some(input) = requests.next() => input,
                Ok(()) = changes.changed() => Input::Changed,
                _ = progress.tick() => Input::ProgressDue,
                () = self.responses.closed() => Input::Closed,
                () = &mut stop => Input::Stopped,
            };
            match input {
                // A client may end its side and still listen.
                Input::Changed | Input::RequestsEnded => (),
                Input::Closed | Input::Request(Err(_)) => return Err(Closed),
                Input::ProgressDue => self.notify_progress().await?,
                Input::Request(Ok(request)) => self.answer(request).await?,
                Input::Stopped => {
                    return self
                        .responses
                        .send(Err(stopped()))
                        .await
                        .map_err(|_| Closed);
                }
            }
        }
    }

    /// Sends until every watch has seen everything; waits whenever the client is slower.
    async fn send_due(&mut self) -> Result<(), Closed> {
        loop {
            let step = self.database.with(|store| self.watches.step(store));
            for response in step.responses {
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
        let head = self.database.with(|store| store.revision());
        match self.watches.handle_request(request, head) {
            Some(response) => self.send(response).await,
            None => Ok(()),
        }
    }

    async fn notify_progress(&mut self) -> Result<(), Closed> {
        let head = self.database.with(|store| store.revision());
        for response in self.watches.notify_progress(head) {
            self.send(response).await?;
        }
        Ok(())
    }

    async fn send(&self, mut response: PbWatchResponse) -> Result<(), Closed> {
        self.database.sign(&mut response.header);
        self.responses.send(Ok(response)).await.map_err(|_| Closed)
    }
}

fn progress_interval() -> Interval {
    let mut interval = interval(PROGRESS_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}
