//! Keys and certificates for the handshakes, made afresh for every comparison.

use anyhow::{Context, Result, anyhow};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde::{Deserialize, Serialize};

use crate::contestant::noise;

/// The name that the server's certificate carries and the client asks for.
pub const SERVER_NAME: &str = "replica.bench";

/// Everything that the two ends of a measurement must share or know of each other.
///
/// It goes to each child over its standard input, and never to a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Material {
    /// The certificate that signed both ends' certificates, DER.
    pub ca: Vec<u8>,
    /// The server's certificate and key.
    pub server: Identity,
    /// The client's certificate and key.
    pub client: Identity,
    /// The server's Noise key pair.
    pub noise_server: NoiseKeys,
    /// The client's Noise key pair.
    pub noise_client: NoiseKeys,
    /// The secret that both ends hold, for the handshakes that use one.
    pub psk: [u8; 32],
}

/// An ECDSA P-256 certificate with its key, both DER.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The certificate.
    pub certificate: Vec<u8>,
    /// Its key, PKCS #8.
    pub key: Vec<u8>,
}

/// An X25519 key pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NoiseKeys {
    /// The public half.
    pub public: Vec<u8>,
    /// The private half.
    pub private: Vec<u8>,
}

impl Material {
    /// Makes a certificate authority, two certificates, two key pairs and a secret.
    ///
    /// # Errors
    ///
    /// If the system has no randomness or a library refuses.
    pub fn generate() -> Result<Self> {
        let mut ca = CertificateParams::new(Vec::new()).context("the authority's parameters")?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().context("the authority's key")?;
        let issuer = CertifiedIssuer::self_signed(ca, key).context("the authority")?;
        let authority: &Certificate = issuer.as_ref();
        let mut psk = [0; 32];
        getrandom::fill(&mut psk).map_err(|error| anyhow!("no randomness: {error}"))?;
        Ok(Self {
            ca: authority.der().to_vec(),
            server: Identity::signed_by(&issuer)?,
            client: Identity::signed_by(&issuer)?,
            noise_server: noise::generate_keys()?,
            noise_client: noise::generate_keys()?,
            psk,
        })
    }
}

impl Identity {
    fn signed_by(issuer: &CertifiedIssuer<'_, KeyPair>) -> Result<Self> {
        let key = KeyPair::generate().context("an end's key")?;
        let params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let certificate = params.signed_by(&key, issuer).context("an end's certificate")?;
        Ok(Self { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }
}
