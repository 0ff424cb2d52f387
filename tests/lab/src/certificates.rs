//! A certificate authority for one run, and the certificates it signs (ECDSA P-256).

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The authority that everyone in the lab trusts. Its key stays in memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate with its private key, in PEM.
pub struct Credentials {
    certificate: String,
    private_key: String,
}

/// Where [`Credentials`] were written.
#[derive(Clone, Debug)]
pub struct CredentialFiles {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Cilium CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The authority's own certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Writes the authority's own certificate to `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_private(path, &self.certificate)
    }

    /// Credentials of a cluster's API server at `address`, also good for the loopback addresses and
    /// `CLUSTER.mesh.cilium.io`.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn server(&self, cluster: &str, address: IpAddr) -> Result<Credentials> {
        let name = format!("{cluster}.mesh.cilium.io");
        let names = [
            name,
            address.to_string(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        self.sign(
            "clustermesh-apiserver",
            names.into(),
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// Credentials of a client; etcd takes the common name for the user: `remote`,
    /// `local-CLUSTER` or `admin-CLUSTER`.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn client(&self, common_name: &str) -> Result<Credentials> {
        self.sign(common_name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        common_name: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Credentials> {
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Credentials {
            certificate,
            private_key: key.serialize_pem(),
        })
    }
}

impl Credentials {
    /// Writes `STEM.crt` and `STEM.key` into `directory`, readable by the owner alone.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn write(&self, directory: &Path, stem: &str) -> Result<CredentialFiles> {
        let files = CredentialFiles {
            certificate: directory.join(format!("{stem}.crt")),
            private_key: directory.join(format!("{stem}.key")),
        };
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        write_private(&files.certificate, &self.certificate)?;
        write_private(&files.private_key, &self.private_key)?;
        Ok(files)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .finish_non_exhaustive()
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut it| it.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
