//! The cluster's store, served in the namespace.

use std::thread::{self, JoinHandle};

use kvstore::administrator::Administrator;
use kvstore::auth::{Access, Command, Keys, ROOT};
use kvstore::server::{Options, Server};
use kvstore::store::{Link, Store};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use crate::world;

/// What is wanted of the store, with the way back.
enum Request {
    Get(String, oneshot::Sender<Option<String>>),
    /// Lets [`USER`] read what is below a prefix.
    Permit(String, oneshot::Sender<()>),
    /// Asks from now on who is there.
    Restrict(oneshot::Sender<()>),
    /// A key with its new value, or none to delete it.
    Write(String, Option<String>, oneshot::Sender<()>),
}

/// Who may read what is permitted once the store is restricted, with its name as password.
pub(crate) const USER: &str = "agent";

/// Lives in a thread of its own, because only that thread is in the namespace.
pub(crate) struct StoreThread {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    pub(crate) fn start(namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        let (requests, received) = mpsc::channel(1);
        let thread = thread::spawn(move || {
            world::enter(&namespace);
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(received));
        });
        Self {
            requests: Some(requests),
            thread: Some(thread),
        }
    }

    /// Returns once the store has the value.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.write(key, Some(value.to_owned()));
    }

    pub(crate) fn delete(&self, key: &str) {
        self.write(key, None);
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let (back, waiting) = oneshot::channel();
        self.ask(Request::Get(key.to_owned(), back));
        waiting.blocking_recv().unwrap()
    }

    pub(crate) fn permit(&self, prefix: &str) {
        let (done, waiting) = oneshot::channel();
        self.ask(Request::Permit(prefix.to_owned(), done));
        waiting.blocking_recv().unwrap();
    }

    pub(crate) fn restrict(&self) {
        let (done, waiting) = oneshot::channel();
        self.ask(Request::Restrict(done));
        waiting.blocking_recv().unwrap();
    }

    /// Ends the store; whoever uses it loses it.
    pub(crate) fn stop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }

    fn write(&self, key: &str, value: Option<String>) {
        let (done, waiting) = oneshot::channel();
        self.ask(Request::Write(key.to_owned(), value, done));
        waiting.blocking_recv().unwrap();
    }

    fn ask(&self, request: Request) {
        let requests = self.requests.as_ref().unwrap();
        requests.blocking_send(request).unwrap();
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(mut requests: mpsc::Receiver<Request>) {
    let options = Options::new("0.0.0.0:2379".parse().unwrap(), "test");
    let server = Server::bind(options).await.unwrap();
    let store = Store::Local(server.local());
    let link = Link::default();
    let administrator = Administrator::connect(&store, &link).await.unwrap();
    let mut client = store.connect(&link).await.unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    while let Some(request) = requests.recv().await {
        match request {
            Request::Get(key, back) => {
                let answer = client.get(key, None).await.unwrap();
                let value = answer
                    .kvs()
                    .first()
                    .map(|it| it.value_str().unwrap().to_owned());
                let _gone = back.send(value);
            }
            Request::Permit(prefix, done) => {
                let command = Command::RoleGrantPermission {
                    role: USER.to_owned(),
                    keys: Keys::prefix(&prefix),
                    access: Access::Read,
                };
                administrator.command(command).await.unwrap();
                let _gone = done.send(());
            }
            Request::Restrict(done) => {
                for name in [ROOT, USER] {
                    client.user_add(name, name, None).await.unwrap();
                    client.role_add(name).await.unwrap();
                    client.user_grant_role(name, name).await.unwrap();
                }
                administrator.command(Command::Enable).await.unwrap();
                let _gone = done.send(());
            }
            Request::Write(key, value, done) => {
                match value {
                    Some(value) => drop(client.put(key, value, None).await.unwrap()),
                    None => drop(client.delete(key, None).await.unwrap()),
                }
                let _gone = done.send(());
            }
        }
    }
}
