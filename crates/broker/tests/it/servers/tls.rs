//! An authority and a server's certificate for the loopback address, as files.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Writes `ca.crt`, and `server.crt` with `server.key` for `localhost` and 127.0.0.1, into `folder`.
pub(crate) fn write(folder: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server =
        CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in
        [("ca.crt", ca_certificate.pem()), ("server.crt", server.pem()), ("server.key", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}
