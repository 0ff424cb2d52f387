//! The cluster's store, served on the namespace's loopback.

use std::thread::{self, JoinHandle};

use kvstore::server::{Options, Server};
use kvstore::store::{Link, Store};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use crate::world;

type Put = (String, String, oneshot::Sender<()>);

/// Lives in a thread of its own, because only that thread is in the namespace.
pub(crate) struct StoreThread {
    puts: Option<mpsc::Sender<Put>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    pub(crate) fn start(namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        let (puts, received) = mpsc::channel(1);
        let thread = thread::spawn(move || {
            world::enter(&namespace);
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(received));
        });
        Self {
            puts: Some(puts),
            thread: Some(thread),
        }
    }

    /// Returns once the store has the value.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let (done, waiting) = oneshot::channel();
        let put = (key.to_owned(), value.to_owned(), done);
        self.puts.as_ref().unwrap().blocking_send(put).unwrap();
        waiting.blocking_recv().unwrap();
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.puts = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

async fn serve(mut puts: mpsc::Receiver<Put>) {
    let options = Options {
        listen: "127.0.0.1:2379".parse().unwrap(),
        tls: None,
        name: "test".to_owned(),
    };
    let server = Server::bind(options).await.unwrap();
    let store = Store::Local(server.local());
    let mut client = store.connect(&Link::default()).await.unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    while let Some((key, value, done)) = puts.recv().await {
        client.put(key, value, None).await.unwrap();
        let _gone = done.send(());
    }
}
