//! Starts the API server.

use std::process::ExitCode;

use clustermesh_apiserver::config::Config;
use clustermesh_apiserver::serve;

fn main() -> ExitCode {
    let config = Config::from_command_line();
    kvstore::tls::install_provider();
    daemon::run(
        "clustermesh-apiserver",
        &config.daemon.clone(),
        async |process| serve::serve(config, process).await,
    )
}
