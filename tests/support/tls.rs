//! Certificates of our own, and a server of TLS before another one: it wants a certificate of who connects, and
//! keeps what it was told.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority that signs certificates; its own one is a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    pub file: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            file,
        }
    }

    /// A certificate for `localhost`, and its key.
    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The files of a certificate and its key.
    pub fn sign_into(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign();
        let path = |kind: &str| folder.join(format!("{name}.{kind}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }
}

/// What was told on each connection.
type Connections = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// Takes connections over TLS for a server that knows none.
pub struct Front {
    pub port: u16,
    connections: Connections,
    refusals: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Front {
    /// Who connects has to show a certificate of `authority`, as the server does. `protocol` is what is spoken.
    pub fn start(authority: &Authority, protocol: &str, to: u16) -> Self {
        let (certificate, key) = authority.sign();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots))
            .build()
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Connections::default();
        let refusals: Arc<Mutex<Vec<String>>> = Arc::default();
        let (all, refused) = (Arc::clone(&connections), Arc::clone(&refusals));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::default();
                all.lock().unwrap().push(Arc::clone(&told));
                let (acceptor, refused) = (acceptor.clone(), Arc::clone(&refused));
                tokio::spawn(async move {
                    if let Err(error) = pass_on(acceptor.accept(stream).await, to, &told).await {
                        refused.lock().unwrap().push(error.to_string());
                    }
                });
            }
        });
        Self {
            port,
            connections,
            refusals,
            _runtime: runtime,
        }
    }

    /// What was told on each connection so far, decrypted.
    pub fn told(&self) -> Vec<Vec<u8>> {
        let all = self.connections.lock().unwrap();
        all.iter()
            .map(|told| told.lock().unwrap().clone())
            .collect()
    }

    /// Why connections came to nothing.
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }
}

async fn pass_on(
    stream: std::io::Result<tokio_rustls::server::TlsStream<TcpStream>>,
    to: u16,
    told: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(stream?);
    let (mut from_server, mut to_server) =
        TcpStream::connect(("127.0.0.1", to)).await?.into_split();
    let there = async {
        let mut bytes = [0; 1 << 14];
        loop {
            let n_bytes = from_client.read(&mut bytes).await.unwrap_or(0);
            told.lock().unwrap().extend_from_slice(&bytes[..n_bytes]);
            if n_bytes == 0 || to_server.write_all(&bytes[..n_bytes]).await.is_err() {
                break to_server.shutdown().await;
            }
        }
    };
    let back = async {
        let copied = tokio::io::copy(&mut from_server, &mut to_client).await;
        let ended = to_client.shutdown().await;
        copied.and(ended)
    };
    // How a connection ends that was let in is not told.
    let _ = tokio::join!(there, back);
    Ok(())
}
