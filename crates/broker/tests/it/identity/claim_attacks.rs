//! Attacks by what the claims say. All tokens here are well signed.

use super::*;

#[tokio::test]
async fn missing_claims() {
    let bench = Bench::new().await;
    for (name, code) in [
        ("iss", Code::ClaimType),
        ("sub", Code::ClaimType),
        ("aud", Code::Audience),
        ("exp", Code::ClaimType),
        ("iat", Code::ClaimType),
    ] {
        let mut claims = bench.issuer.standard(Timestamp::now(), json!({}));
        claims.as_object_mut().expect("an object").remove(name);
        let token = bench.issuer.mint_with(TestKey::Rsa, &bench.issuer.header(TestKey::Rsa), &claims);
        let rejection = bench.refused(&token, code).await;
        assert_eq!((rejection.at(), rejection.seen()), (name, Some("nothing")));
    }
}

/// CVE-2026-25537: a wrong-typed `exp` or `nbf` counted as absent, so that the token never expired.
#[tokio::test]
async fn wrong_type_exp() {
    let bench = Bench::new().await;
    let soon = Timestamp::now().as_second() + 60;
    for name in ["exp", "iat", "nbf"] {
        for value in [
            json!(soon.to_string()),
            json!("never"),
            json!(soon as f64),
            json!(soon as f64 + 0.5),
            json!(-1),
            json!(0),
            json!(1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1e30),
            json!(soon * 1000),
            json!(null),
            json!([soon]),
            json!({ "value": soon }),
            json!(true),
        ] {
            let rejection = bench.refused_claims(json!({ name: value }), Code::ClaimType).await;
            assert_eq!(rejection.at(), name);
        }
    }
    // Numbers that serde_json itself cannot hold.
    for number in ["1e400", "-0", "99999999999999999999999999", "1.0", "0x10", "NaN"] {
        let claims = bench.issuer.standard(Timestamp::now(), json!({ "exp": "here" })).to_string();
        let claims = claims.replace("\"here\"", number);
        let token =
            bench.issuer.mint_text(TestKey::Rsa, &bench.issuer.header(TestKey::Rsa).to_string(), &claims);
        assert!(bench.verify(&token).await.is_err(), "{number}");
    }
}

#[tokio::test]
async fn wrong_types_elsewhere() {
    let bench = Bench::new().await;
    for value in [json!(1), json!(["x"]), json!(null), json!({}), json!("")] {
        bench.refused_claims(json!({ "sub": value }), Code::ClaimType).await;
        bench.refused_claims(json!({ "jti": value }), Code::ClaimType).await;
    }
    bench.refused_claims(json!({ "jti": "x".repeat(513) }), Code::ClaimType).await;
    for value in [json!(1), json!([bench.issuer.url()]), json!(null)] {
        bench.refused_claims(json!({ "iss": value }), Code::ClaimType).await;
    }
}

#[tokio::test]
async fn audience_forms() {
    let bench = Bench::new().await;
    let upper = AUDIENCE.to_uppercase();
    for value in [
        json!("https://other.test"),
        json!([AUDIENCE, "https://other.test"]),
        json!(["https://other.test", AUDIENCE]),
        json!([AUDIENCE, AUDIENCE]),
        json!([]),
        json!([[AUDIENCE]]),
        json!({ "0": AUDIENCE }),
        json!(null),
        json!(1),
        json!(""),
        json!(upper),
        json!(format!("{AUDIENCE}/")),
        json!(format!("{AUDIENCE} ")),
        json!(format!("{AUDIENCE},https://other.test")),
        json!("*"),
    ] {
        bench.refused_claims(json!({ "aud": value }), Code::Audience).await;
    }
    // An issuer whose audience is fixed: its own counts, the broker's does not.
    let config = IssuerConfig {
        audience: Some("api://AzureADTokenExchange".into()),
        ..bench.issuer.config("azure_devops")
    };
    let verifier = verifier(&config);
    let token = |audience: &str| bench.issuer.mint(claims::azure_devops(json!({ "aud": audience })));
    assert!(verifier.verify(&token("api://AzureADTokenExchange")).await.is_ok());
    assert!(verifier.verify(&token(AUDIENCE)).await.is_err());
}

#[tokio::test]
async fn expired_not_yet_skewed() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    let now = hands.now().as_second();
    let check = async |exp: i64, iat: i64, nbf: i64, wanted: Option<(Code, &str)>| {
        let token = issuer.mint_at(hands.now(), json!({ "exp": exp, "iat": iat, "nbf": nbf }));
        let found = verifier.verify(&token).await;
        let found = found.as_ref().err().map(|rejection| (rejection.code(), rejection.at()));
        assert_eq!(found, wanted, "exp {exp} iat {iat} nbf {nbf} at {now}");
    };
    check(now - 29, now - 300, now - 300, None).await;
    check(now - 30, now - 300, now - 300, Some((Code::Expired, "exp"))).await;
    check(now - 3000, now - 3300, now - 3300, Some((Code::Expired, "exp"))).await;
    check(now + 300, now + 30, now, None).await;
    check(now + 300, now + 31, now, Some((Code::NotYet, "iat"))).await;
    check(now + 300, now, now + 30, None).await;
    check(now + 300, now, now + 31, Some((Code::NotYet, "nbf"))).await;
    check(now + 3600, now, now, None).await;
    check(now + 3601, now, now, Some((Code::TooLongLived, "exp"))).await;
    check(now + 20, now + 20, now, Some((Code::TooLongLived, "exp"))).await;
    check(now + 10, now + 20, now, Some((Code::TooLongLived, "exp"))).await;
    check(32_503_680_000, now, now, Some((Code::TooLongLived, "exp"))).await;
}

#[tokio::test]
async fn lives_are_bounded_by_platform_and_by_configuration() {
    let issuer = TestIssuer::start().await;
    let now = Timestamp::now().as_second();
    let token = |life: i64| issuer.mint(claims::github(json!({ "iat": now, "exp": now + life })));
    let github = verifier(&issuer.config("github"));
    assert!(github.verify(&token(900)).await.is_ok());
    assert_eq!(github.verify(&token(901)).await.expect_err("too long").code(), Code::TooLongLived);
    let short = IssuerConfig { max_token_life: "5m".parse().ok(), ..issuer.config("github") };
    assert_eq!(verifier(&short).verify(&token(301)).await.expect_err("too long").code(), Code::TooLongLived);
}

#[tokio::test]
async fn replay_in_leeway() {
    let issuer = TestIssuer::start().await;
    let hands = Hands::new();
    let verifier = hands.verifier(&issuer.config("oidc"));
    let token = issuer.mint_at(hands.now(), json!({}));
    let first = verifier.verify(&token).await.expect("a good token");
    // To `exp` + leeway - 1: accepted by its times, so it must still be remembered.
    hands.forward(299 + 29);
    let again = verifier.verify(&token).await.expect("within the leeway");
    assert_eq!(first.token_id(), again.token_id());
    assert!(first.keep_until() > hands.now());
    hands.forward(1);
    assert_eq!(verifier.verify(&token).await.expect_err("over").code(), Code::Expired);
    assert!(first.keep_until() > hands.now(), "forgotten only after it is refused");
}

#[tokio::test]
async fn duplicate_and_disguised_claims() {
    let bench = Bench::new().await;
    let header = bench.issuer.header(TestKey::Rsa).to_string();
    let standard = bench.issuer.standard(Timestamp::now(), json!({})).to_string();
    let with = |more: &str| format!("{},{more}}}", standard.strip_suffix('}').expect("an object"));
    for more in [
        r#""sub":"admin""#,
        r#""s\u0075b":"admin""#,
        r#""aud":"x""#,
        r#""nested":{"a":1,"a":2}"#,
        r#""nested":[{"a":1,"\u0061":2}]"#,
        r#""exp":99999999999"#,
    ] {
        bench.refused(&bench.issuer.mint_text(TestKey::Rsa, &header, &with(more)), Code::Malformed).await;
    }
    // Other letter case is another claim, and is never looked at.
    let token = bench.issuer.mint_text(TestKey::Rsa, &header, &with(r#""Sub":"admin","ſub":"x","AUD":"y""#));
    let identity = bench.verify(&token).await.expect("a good token with odd extras");
    assert_eq!(identity.subject(), "test");
    assert_eq!(identity.claims().text("sub"), Some("test"));
    // An escaped name is the name: what was parsed is what is used.
    let escaped = standard.replace("\"sub\"", "\"s\\u0075b\"");
    let token = bench.issuer.mint_text(TestKey::Rsa, &header, &escaped);
    assert_eq!(bench.verify(&token).await.expect("the same claims").subject(), "test");
    let upper = standard.replace("\"sub\"", "\"SUB\"");
    bench.refused(&bench.issuer.mint_text(TestKey::Rsa, &header, &upper), Code::ClaimType).await;
}

#[tokio::test]
async fn deep_and_wide_json() {
    let bench = Bench::new().await;
    let header = bench.issuer.header(TestKey::Rsa).to_string();
    let deep = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
    let wide = format!("[{}1]", "1,".repeat(4000));
    for value in [deep, objects, wide] {
        let claims = format!(r#"{{"iss":"{}","x":{value}}}"#, bench.issuer.url());
        bench.refused(&bench.issuer.mint_text(TestKey::Rsa, &header, &claims), Code::Malformed).await;
    }
    for claims in ["[]", "null", "1", "\"x\"", "{", "{}{}", "\u{feff}{}", "{\"a\":\"\u{1}\"}"] {
        bench.refused(&bench.issuer.mint_text(TestKey::Rsa, &header, claims), Code::Malformed).await;
    }
}

#[tokio::test]
async fn log_injection() {
    let bench = Bench::new().await;
    let nasty = "x\r\n2026-01-01 INFO granted\u{1b}[2J\u{2028}\u{202e}";
    // `refused` looks for control characters in the words.
    bench.refused_claims(json!({ "aud": nasty }), Code::Audience).await;
    bench.refused_claims(json!({ "iss": nasty }), Code::UnknownIssuer).await;
    bench.refused_claims(json!({ "exp": nasty }), Code::ClaimType).await;
    bench.refused_header(json!({ "kid": nasty }), Code::UnknownKey).await;
    bench.refused_header(json!({ "alg": nasty }), Code::Algorithm).await;
    bench.refused_header(json!({ "typ": nasty }), Code::Header).await;
    let github = verifier(&bench.issuer.config("github"));
    let token = bench.issuer.mint(claims::github(json!({ "repository": nasty })));
    let rejection = github.verify(&token).await.expect_err("refused");
    assert_eq!(rejection.code(), Code::Subject);
    assert!(!rejection.to_string().chars().any(char::is_control));
}

#[tokio::test]
async fn hyphen_squat() {
    let issuer = TestIssuer::start().await;
    let verifier = verifier(&issuer.config("github"));
    let early = issuer.mint(claims::github(json!({ "sub": "repo:acme-1001/shop-4711:ref:refs/heads/main" })));
    assert_eq!(verifier.verify(&early).await.expect_err("refused").code(), Code::Subject);
    let now = issuer.mint(claims::github(json!({ "sub": "repo:acme@1001/shop@4711:ref:refs/heads/main" })));
    assert!(verifier.verify(&now).await.is_ok());
}

/// An ECDSA signature can be turned into a second one that is as good: the token must not count as a new one.
#[tokio::test]
async fn a_rewritten_signature_is_no_new_token() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let bench = Bench::new().await;
    let mut claims = bench.issuer.standard(Timestamp::now(), json!({}));
    claims.as_object_mut().expect("an object").remove("jti");
    let token = bench.issuer.mint_with(TestKey::P256, &bench.issuer.header(TestKey::P256), &claims);
    let first = bench.verify(&token).await.expect("a good token");
    let (signed, signature) = token.expose_text().and_then(|token| token.rsplit_once('.')).expect("parts");
    let mut raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    // s becomes order - s, byte by byte with a borrow.
    let order = hex::decode(ORDER).expect("hex");
    let mut borrow = 0_i16;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(raw[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        raw[32 + place] = (difference & 0xff) as u8;
    }
    let second = Secret::text(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw)));
    assert_ne!(second.expose(), token.expose());
    let second = bench.verify(&second).await.expect("the library takes both");
    assert_eq!(first.token_id(), second.token_id());
    assert!(first.token_id().as_str().starts_with("sha256:"));
}
