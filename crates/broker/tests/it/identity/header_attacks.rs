//! Attacks by the header and by the shape of a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

#[tokio::test]
async fn alg_none() {
    let bench = Bench::new().await;
    for name in ["none", "None", "NONE", "nOnE", ""] {
        bench.refused_header(json!({ "alg": name }), Code::Algorithm).await;
    }
    bench.refused_header(json!({ "alg": null }), Code::Algorithm).await;
    bench.refused_header(json!({ "alg": ["RS256"] }), Code::Algorithm).await;
    // Without a signature there are not three parts.
    let token = bench.issuer.mint(json!({}));
    let text = token.expose_text().expect("text");
    let bare = &text[..=text.rfind('.').expect("a dot")];
    bench.refused(&Secret::text(bare.to_owned()), Code::Malformed).await;
}

/// The public key as an HMAC secret: an old trick against libraries that take the algorithm from the token.
#[tokio::test]
async fn alg_hs256() {
    let bench = Bench::new().await;
    for name in ["HS256", "HS384", "HS512"] {
        bench.refused_header(json!({ "alg": name }), Code::Algorithm).await;
    }
    let n = TestKey::Rsa.jwk()["n"].as_str().expect("a modulus").to_owned();
    let header = json!({ "alg": "HS256", "kid": TestKey::Rsa.kid() }).to_string();
    let claims = bench.issuer.standard(Timestamp::now(), json!({})).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, n.as_bytes());
    let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    bench.refused(&Secret::text(format!("{signed}.{mac}")), Code::Algorithm).await;
}

#[tokio::test]
async fn alg_mismatch() {
    let bench = Bench::new().await;
    // The key is for RS256; the header says otherwise.
    bench.refused_header(json!({ "alg": "ES256" }), Code::Algorithm).await;
    // Allowed nowhere here, although the key could.
    bench.refused_header(json!({ "alg": "RS512" }), Code::Algorithm).await;
    bench.refused_header(json!({ "alg": "PS256" }), Code::Algorithm).await;
    bench.refused_header(json!({ "alg": "rs256" }), Code::Algorithm).await;
    let config = IssuerConfig {
        algorithms: serde_json::from_value(json!(["RS512", "RS256"])).expect("algorithms"),
        ..bench.issuer.config("oidc")
    };
    // The set says that this key is for RS256 alone.
    let verifier = verifier(&config);
    let header = json!({ "alg": "RS512", "kid": TestKey::Rsa.kid() });
    let claims = bench.issuer.standard(Timestamp::now(), json!({}));
    let token = bench.issuer.mint_with(TestKey::Rsa, &header, &claims);
    assert_eq!(verifier.verify(&token).await.expect_err("refused").code(), Code::Algorithm);
    // A P-256 key's name with an RSA signature, and the other way round.
    let crossed = bench.issuer.mint_with(TestKey::Rsa, &bench.issuer.header(TestKey::P256), &claims);
    bench.refused(&crossed, Code::Signature).await;
    let crossed = bench.issuer.mint_with(TestKey::P256, &bench.issuer.header(TestKey::Rsa), &claims);
    bench.refused(&crossed, Code::Signature).await;
}

#[tokio::test]
async fn crit_jku_jwk_x5u() {
    let bench = Bench::new().await;
    let forger = TestKey::Stranger.jwk();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jku", json!("https://evil.test/keys")),
        ("jwk", forger),
        ("x5u", json!("https://evil.test/cert")),
        ("x5c", json!(["MIIB"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        bench.refused_header(json!({ name: value }), Code::Header).await;
    }
    assert_eq!(bench.issuer.served(Document::Keys), 0, "nothing was fetched for any of them");
}

#[tokio::test]
async fn kid_traversal() {
    let bench = Bench::new().await;
    let claims = bench.issuer.standard(Timestamp::now(), json!({}));
    for kid in
        ["../../../../etc/passwd", "/dev/null", "' OR 1=1 --", "http://evil.test/", "rsa-1\u{0}", "RSA-1"]
    {
        let header = json!({ "alg": "RS256", "kid": kid });
        bench.refused(&bench.issuer.mint_with(TestKey::Stranger, &header, &claims), Code::UnknownKey).await;
    }
    for kid in [json!(null), json!(""), json!(1), json!(["rsa-1"]), json!("k".repeat(513))] {
        let header = json!({ "alg": "RS256", "kid": kid });
        bench.refused(&bench.issuer.mint_with(TestKey::Rsa, &header, &claims), Code::Header).await;
    }
    bench.refused_header(json!({ "kid": null }), Code::Header).await;
    assert_eq!(
        bench.issuer.served(Document::Keys),
        1,
        "unknown names led to one fetch, of the issuer's own keys"
    );
}

#[tokio::test]
async fn typ() {
    let bench = Bench::new().await;
    bench.refused_header(json!({ "typ": "at+jwt" }), Code::Header).await;
    bench.refused_header(json!({ "typ": 1 }), Code::Header).await;
    let claims = bench.issuer.standard(Timestamp::now(), json!({}));
    for header in
        [json!({ "alg": "RS256", "kid": "rsa-1" }), json!({ "alg": "RS256", "kid": "rsa-1", "typ": "jwt" })]
    {
        assert!(bench.verify(&bench.issuer.mint_with(TestKey::Rsa, &header, &claims)).await.is_ok());
    }
    let config = IssuerConfig { token_type: Some("at+jwt".into()), ..bench.issuer.config("oidc") };
    let header = json!({ "alg": "RS256", "kid": "rsa-1", "typ": "at+jwt" });
    let token = bench.issuer.mint_with(TestKey::Rsa, &header, &claims);
    assert!(verifier(&config).verify(&token).await.is_ok());
}

#[tokio::test]
async fn forged_signatures() {
    let bench = Bench::new().await;
    let claims = bench.issuer.standard(Timestamp::now(), json!({}));
    let forged = bench.issuer.mint_with(TestKey::Stranger, &bench.issuer.header(TestKey::Rsa), &claims);
    bench.refused(&forged, Code::Signature).await;
    // One token's signature under another's claims.
    let (good, other) = (bench.issuer.mint(json!({})), bench.issuer.mint(json!({ "sub": "admin" })));
    let (good, other) = (good.expose_text().expect("text"), other.expose_text().expect("text"));
    let (_, signature) = good.rsplit_once('.').expect("parts");
    let (signed, _) = other.rsplit_once('.').expect("parts");
    bench.refused(&Secret::text(format!("{signed}.{signature}")), Code::Signature).await;
    // Zeros, which an implementation of ECDSA once took (CVE-2022-21449).
    let header = bench.issuer.header(TestKey::P256);
    let token = bench.issuer.mint_with(TestKey::P256, &header, &claims);
    let (signed, _) = token.expose_text().and_then(|token| token.rsplit_once('.')).expect("parts");
    let zeros = URL_SAFE_NO_PAD.encode([0_u8; 64]);
    bench.refused(&Secret::text(format!("{signed}.{zeros}")), Code::Signature).await;
}

#[tokio::test]
async fn oversize() {
    let bench = Bench::new().await;
    let large = bench.issuer.mint(json!({ "pad": "x".repeat(16 * 1024) }));
    bench.refused(&large, Code::Malformed).await;
    let header = json!({ "alg": "RS256", "kid": "rsa-1", "pad": "x".repeat(4000) });
    let claims = bench.issuer.standard(Timestamp::now(), json!({}));
    bench.refused(&bench.issuer.mint_with(TestKey::Rsa, &header, &claims), Code::Malformed).await;
    bench.refused(&Secret::new(vec![b'.'; 20 << 20]), Code::Malformed).await;
}

#[tokio::test]
async fn shapes() {
    let bench = Bench::new().await;
    let good = bench.issuer.mint(json!({}));
    let good = good.expose_text().expect("text");
    let (signed, signature) = good.rsplit_once('.').expect("parts");
    let (header, payload) = signed.split_once('.').expect("parts");
    for shape in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b".to_owned(),
        "é.é.é".to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{header}..{signature}"),
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}\n"),
        format!(" {good}"),
        format!("{header}.{payload}\u{0}.{signature}"),
        format!("{header}.{payload}+/.{signature}"),
        format!("Bearer {good}"),
    ] {
        bench.refused(&Secret::text(shape), Code::Malformed).await;
    }
    bench.refused(&Secret::new(vec![0xff; 100]), Code::Malformed).await;
}

/// Spare bits at the end of a base64 part: the same bytes written differently would be a second token.
#[tokio::test]
async fn one_spelling_per_token() {
    let bench = Bench::new().await;
    let token = bench.issuer.mint(json!({}));
    let mut spelling = token.expose().to_vec();
    // 256 bytes leave four spare bits in the last character.
    let last = spelling.last_mut().expect("a character");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|letter| letter == last).expect("base64url");
    *last = alphabet[place ^ 1];
    bench.refused(&Secret::new(spelling), Code::Malformed).await;
}

#[tokio::test]
async fn duplicate_members_of_the_header() {
    let bench = Bench::new().await;
    let claims = bench.issuer.standard(Timestamp::now(), json!({})).to_string();
    for header in [
        r#"{"alg":"RS256","alg":"none","kid":"rsa-1"}"#,
        r#"{"alg":"RS256","kid":"rsa-1","\u006bid":"rsa-2"}"#,
        r#"["RS256"]"#,
        r#"{"alg":"RS256","kid":"rsa-1"} "x""#,
        "",
    ] {
        bench.refused(&bench.issuer.mint_text(TestKey::Rsa, header, &claims), Code::Malformed).await;
    }
}
