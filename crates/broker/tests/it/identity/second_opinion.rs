//! Another program's tokens and another program's verdict: Python's `jwt`.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A Python that has the package, or nothing where it is not installed.
///
/// # Panics
/// It is not there, and the environment says `CI=true`.
fn python() -> Option<PathBuf> {
    let has_it = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import jwt, cryptography"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let tools = std::env::var_os("CLAVIGER_TEST_TOOLS").map(|tools| PathBuf::from(tools).join("python"));
    let found = tools.into_iter().chain([PathBuf::from("python3")]).find(has_it);
    assert!(found.is_some() || std::env::var("CI").as_deref() != Ok("true"), "tests/run installs pyjwt");
    found
}

fn run(python: &PathBuf, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).args(["-c", script]).args(arguments).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Makes a key, writes its public half, signs.
const SIGN: &str = r#"
import json, sys, jwt
from cryptography.hazmat.primitives.asymmetric import rsa, ec
alg, claims, path = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
if alg.startswith("ES"):
    key = ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
else:
    key = rsa.generate_private_key(65537, 2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
public["kid"] = "py"
public.pop("key_ops", None)
json.dump({"keys": [public]}, open(path, "w"))
print(jwt.encode(claims, key, algorithm=alg, headers={"kid": "py"}))
"#;

#[tokio::test]
async fn tokens_that_another_program_signed() {
    let Some(python) = python() else { return };
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.json");
        let issuer = TestIssuer::named("https://issuer.test");
        let claims = issuer.standard(Timestamp::now(), json!({})).to_string();
        let token = Secret::text(run(&python, SIGN, &[algorithm, &claims, &path.display().to_string()]));
        let config = IssuerConfig {
            jwks_file: Some(path),
            internal: false,
            algorithms: serde_json::from_value(json!([algorithm])).expect("an algorithm"),
            ..issuer.config("oidc")
        };
        let identity = verifier(&config).verify(&token).await;
        assert!(identity.is_ok(), "{algorithm}: {:?}", identity.err());
        let mut broken = token.expose().to_vec();
        let middle = broken.len() - 100;
        broken[middle] = if broken[middle] == b'A' { b'B' } else { b'A' };
        assert!(verifier(&config).verify(&Secret::new(broken)).await.is_err());
    }
}

/// Says whether it accepts a token of the test issuer.
const VERIFY: &str = r#"
import json, sys, jwt
keys, token, issuer, audience = sys.argv[1:]
kid = jwt.get_unverified_header(token)["kid"]
key = next(k for k in jwt.PyJWKSet.from_json(keys).keys if k.key_id == kid)
print(jwt.decode(token, key.key, algorithms=["RS256", "ES256"], issuer=issuer, audience=audience)["sub"])
"#;

#[tokio::test]
async fn another_program_takes_the_test_issuers_tokens() {
    let Some(python) = python() else { return };
    let issuer = TestIssuer::named("https://issuer.test");
    let claims = issuer.standard(Timestamp::now(), json!({ "sub": "both agree" }));
    for key in [TestKey::Rsa, TestKey::P256] {
        let token = issuer.mint_with(key, &issuer.header(key), &claims);
        let token = token.expose_text().expect("text");
        let said = run(&python, VERIFY, &[&issuer.key_set().to_string(), token, issuer.url(), AUDIENCE]);
        assert_eq!(said, "both agree");
    }
}
