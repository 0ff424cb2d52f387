//! Signs client certificates with a cluster's CA, and judges those that are there.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, date_time_ymd,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Clocks of other machines may be this far behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// A certificate is renewed when less than this is left of it, or less than a third of its life.
const RENEW_BEFORE_SECONDS: u64 = 30 * DAY_SECONDS;

/// A CA that signs.
pub(super) struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    /// Reads a CA's certificate and its key. If `cert` holds several certificates, the first signs.
    pub(super) fn parse(cert: String, key: &str) -> anyhow::Result<Self> {
        let der = first_certificate(&cert).context("the CA's file holds no certificate in PEM")?;
        let key = KeyPair::from_pem(key).context("the CA's key cannot be read")?;
        {
            let (_, ca) =
                X509Certificate::from_der(&der).context("the CA's certificate is none")?;
            ensure!(
                ca.is_ca(),
                "the certificate is not a CA's; name the CA's own"
            );
            ensure!(
                ca.public_key().raw == key.subject_public_key_info(),
                "the key belongs to another certificate; name the key of this CA"
            );
        }
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), key);
        Ok(Self {
            issuer: issuer.context("the CA's certificate cannot be used")?,
            pem: cert,
            der,
        })
    }

    /// The CA's certificates in PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.pem
    }

    /// Makes a key, and a certificate for the etcd user `user`, valid for so many days from `now` in
    /// milliseconds since 1970.
    pub(super) fn sign(&self, user: &str, days: u32, now: u64) -> anyhow::Result<Pair> {
        let key = KeyPair::generate().context("no key can be made")?;
        let mut params = CertificateParams::new([]).context("no certificate can be made")?;
        params.distinguished_name.push(DnType::CommonName, user);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now);
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + Duration::from_secs(u64::from(days) * DAY_SECONDS);
        let certificate = params.signed_by(&key, &self.issuer);
        Ok(Pair {
            cert: certificate.context("the CA cannot sign")?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Whether a certificate and its key are of this CA, for this user, and good for a while.
    pub(super) fn is_good(&self, cert: &str, key: &str, user: &str, now: u64) -> bool {
        self.judge(cert, key, user, now).unwrap_or(false)
    }

    fn judge(&self, cert: &str, key: &str, user: &str, now: u64) -> Option<bool> {
        let der = first_certificate(cert)?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let (_, ca) = X509Certificate::from_der(&self.der).ok()?;
        let key = KeyPair::from_pem(key).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        let seconds = |it: i64| u64::try_from(it).ok();
        let start = seconds(certificate.validity().not_before.timestamp())?;
        let end = seconds(certificate.validity().not_after.timestamp())?;
        let renewal = end - RENEW_BEFORE_SECONDS.min(end.checked_sub(start)? / 3);
        Some(
            certificate.verify_signature(Some(ca.public_key())).is_ok()
                && name.as_str().ok()? == user
                && certificate.public_key().raw == key.subject_public_key_info()
                && start <= now / 1_000
                && now / 1_000 < renewal,
        )
    }
}

fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let mut all = Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
    all.find(|it| it.label == "CERTIFICATE")
        .map(|it| it.contents)
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, IsCa};

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const DAY: u64 = DAY_SECONDS * 1_000;

    #[test]
    fn keeps_what_is_good_and_nothing_else() {
        let (us, ap) = (authority(), authority());
        let Pair { cert, key } = us.sign("remote-eu", 365, NOW).unwrap();

        assert!(us.is_good(&cert, &key, "remote-eu", NOW));
        assert!(us.is_good(&cert, &key, "remote-eu", NOW + 334 * DAY));
        assert!(!us.is_good(&cert, &key, "remote-eu", NOW + 336 * DAY));
        assert!(!us.is_good(&cert, &key, "remote-ap", NOW));
        assert!(!ap.is_good(&cert, &key, "remote-eu", NOW));
        let other = us.sign("remote-eu", 365, NOW).unwrap();
        assert!(!us.is_good(&cert, &other.key, "remote-eu", NOW));
        assert!(!us.is_good("garbage", &key, "remote-eu", NOW));
    }

    #[test]
    fn keeps_a_short_certificate_for_most_of_its_life() {
        let us = authority();
        let Pair { cert, key } = us.sign("remote-eu", 3, NOW).unwrap();

        assert!(us.is_good(&cert, &key, "remote-eu", NOW + DAY));
        assert!(!us.is_good(&cert, &key, "remote-eu", NOW + 2 * DAY + DAY / 2));
    }

    #[test]
    fn refuses_what_is_no_authority() {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        check(
            leaf.pem(),
            &key.serialize_pem(),
            "the certificate is not a CA's",
        );
        check(
            "x".to_owned(),
            &key.serialize_pem(),
            "the CA's file holds no certificate",
        );
        let (cert, _) = ca();
        check(
            cert.clone(),
            &key.serialize_pem(),
            "the key belongs to another",
        );
        check(cert, "x", "the CA's key cannot be read");
    }

    #[track_caller]
    fn check(cert: String, key: &str, expected: &str) {
        let error = Authority::parse(cert, key).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    fn authority() -> Authority {
        let (cert, key) = ca();
        Authority::parse(cert, &key).unwrap()
    }

    fn ca() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a CA");
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }
}
