//! Reads the files that transports need, and keeps up with their changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::fresh::follow;
use super::options::Options;
use crate::cookie::{NoSecrets, Secret, Secrets};
use crate::tls::{Certificate, Pem};

/// The certificate that `options` name, if they name one; from then on it follows its files.
///
/// # Errors
///
/// The files cannot be read, or have no certificate with its key.
pub fn certificate(options: &Options) -> anyhow::Result<Option<Arc<Certificate>>> {
    let (Some(chain), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let files = CertificateFiles {
        chain: chain.clone(),
        key: key.clone(),
    };
    let pem = files.read().map_err(anyhow::Error::msg)?;
    let certificate = Certificate::new(&pem);
    let certificate = certificate.with_context(|| files.to_string())?;
    let certificate = Arc::new(certificate);

    let (used, shown) = (Arc::clone(&certificate), files.to_string());
    let take_over = move |read: &Result<Pem, String>| {
        let exchanged = match read {
            Ok(pem) => used
                .exchange(pem)
                .map_err(|it| format!("{:#}", anyhow::Error::from(it))),
            Err(problem) => Err(problem.clone()),
        };
        match exchanged {
            Ok(()) => info!(files = shown, "a new certificate is in use"),
            Err(problem) => warn!(
                files = shown,
                problem, "the new certificate cannot be used; the former stays in use"
            ),
        }
    };
    tokio::spawn(follow(Ok(pem), move || files.read(), take_over));
    Ok(Some(certificate))
}

/// The secrets of cookies that `options` name, which follow their file from then on, or one that nobody
/// else has.
///
/// # Errors
///
/// The file cannot be read, or has something else.
pub(super) fn secrets(options: &Options) -> anyhow::Result<Arc<ArcSwap<Secrets>>> {
    let Some(file) = options.cookie_secret_file.clone() else {
        let secrets = Secrets::new(Secret::new(rand::random()));
        return Ok(Arc::new(ArcSwap::from_pointee(secrets)));
    };
    let text = read(&file, COOKIE_FLAG).map(Zeroizing::new);
    let text = text.map_err(anyhow::Error::msg)?;
    let known = parse(&text).with_context(|| file.display().to_string())?;
    let secrets = Arc::new(ArcSwap::from_pointee(known));

    let (used, shown) = (Arc::clone(&secrets), file.display().to_string());
    let take_over = move |read: &Result<Zeroizing<Vec<u8>>, String>| {
        let read = read.as_ref().map_err(String::clone);
        match read.and_then(|it| parse(it).map_err(|it| it.to_string())) {
            Ok(secrets) => {
                used.store(Arc::new(secrets));
                info!(file = shown, "new secrets of cookies are in use");
            }
            Err(problem) => warn!(
                file = shown,
                problem, "the new secrets of cookies cannot be used; the former stay in use"
            ),
        }
    };
    let read = move || read(&file, COOKIE_FLAG).map(Zeroizing::new);
    tokio::spawn(follow(Ok(text), read, take_over));
    Ok(secrets)
}

const COOKIE_FLAG: &str = "--cookie-secret-file";

fn parse(text: &[u8]) -> Result<Secrets, NoSecrets> {
    Secrets::read(std::str::from_utf8(text).map_err(|_| NoSecrets)?)
}

#[derive(Clone, Debug)]
struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
}

impl CertificateFiles {
    fn read(&self) -> Result<Pem, String> {
        Ok(Pem {
            chain: read(&self.chain, "--tls-cert")?,
            key: read(&self.key, "--tls-key")?.into(),
        })
    }
}

impl std::fmt::Display for CertificateFiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (chain, key) = (self.chain.display(), self.key.display());
        write!(formatter, "{chain} and {key}")
    }
}

fn read(file: &Path, flag: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        let file = file.display();
        format!("cannot read {file}: {error}; {flag} must name a readable file")
    })
}
