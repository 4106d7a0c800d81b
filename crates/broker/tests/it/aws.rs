//! AWS: against a strict stand-in that checks signatures, and against moto and ministack.

use std::collections::BTreeMap;
use std::sync::Arc;

use claviger_broker::fetch::{Fetch, Guard, Options};
use claviger_broker::provider::aws::endpoint::Endpoint;
use claviger_broker::provider::aws::kms::Kms;
use claviger_broker::provider::aws::sigv4::Keys;
use claviger_broker::provider::aws::sts::{self, Wanted};
use claviger_broker::provider::{Issued, Provider, ProviderError};
use claviger_broker::secret::{self, Secret};
use claviger_broker::testing::{self, TestIssuer};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ground::{Asking, build, field};
use crate::servers::aws::Cloud;
use crate::servers::sts::Sts;

const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";
const ID: &str = "AKIDTEST";

fn asking(parameters: Value) -> Asking {
    let claims = json!({"sub": "repo:example/app", "repository": "example/app", "repository_id": "7"});
    Asking::new(testing::identity(claims), parameters)
}

fn provider(url: &str, who: (&str, Value)) -> Arc<dyn Provider> {
    let mut settings = json!({"region": "us-east-1", "endpoint": url, "connection": {"internal": true}});
    settings[who.0] = who.1;
    build("aws", &settings).unwrap()
}

fn credentials(id: &str, secret: &str) -> (&'static str, Value) {
    ("credentials", json!({"access_key_id": {"value": id}, "secret_access_key": {"value": secret}}))
}

fn keys(issued: &Issued) -> Keys {
    let copy = |name: &str| Secret::text(field(issued, name).to_owned());
    Keys {
        access_key_id: field(issued, "access_key_id").to_owned(),
        secret_access_key: copy("secret_access_key"),
        session_token: Some(copy("session_token")),
    }
}

fn fetch() -> Fetch {
    Fetch::new(&Options::new(Guard::Internal)).unwrap()
}

struct Ground {
    sts: Sts,
    secret: String,
}

impl Ground {
    async fn start() -> Ground {
        let secret = secret::password(40).expose_text().unwrap().to_owned();
        Ground { sts: Sts::start(ID, &secret).await, secret }
    }

    fn signing(&self) -> Arc<dyn Provider> {
        provider(self.sts.url(), credentials(ID, &self.secret))
    }

    fn by_token(&self) -> Arc<dyn Provider> {
        provider(self.sts.url(), ("caller_token", json!({})))
    }
}

#[tokio::test]
async fn a_signed_request_says_all_that_the_role_does() {
    let ground = Ground::start().await;
    let provider = ground.signing();
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    let ask = asking(json!({
        "role": ROLE, "policy": policy, "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "tags": {"Repository": "{repository}"}, "transitive_tags": ["Repository"],
        "source_identity": "gh-{repository_id}", "external_id": "x-1",
    }));
    let issued = ask.issue(&*provider).await.unwrap();
    let name = ask.lease.object_name();
    let seen = ground.sts.seen().remove(0);
    let wanted = [
        ("RoleArn", ROLE),
        ("RoleSessionName", &name),
        ("DurationSeconds", "900"),
        ("Policy", &policy.to_string()),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
        ("Tags.member.1.Key", "Repository"),
        ("Tags.member.1.Value", "example/app"),
        ("TransitiveTagKeys.member.1", "Repository"),
        ("SourceIdentity", "gh-7"),
        ("ExternalId", "x-1"),
    ];
    for (member, value) in wanted {
        assert_eq!(seen.get(member).map(String::as_str), Some(value), "{member}");
    }
    let life = issued.expires.duration_since(ask.now).as_secs();
    assert!((898..=905).contains(&life), "{life}");
    let secret: Vec<_> =
        issued.credential.fields.iter().filter(|field| field.is_secret).map(|field| &*field.name).collect();
    assert_eq!(secret, ["secret_access_key", "session_token"]);

    // The session's own signature is right too.
    let endpoint = Endpoint::at("sts", "us-east-1", ground.sts.url()).unwrap();
    let itself = sts::get_caller_identity(&fetch(), &endpoint, &keys(&issued), Timestamp::now()).await;
    assert!(itself.unwrap().contains(field(&issued, "access_key_id")));

    assert!(!provider.abilities().revocable);
    assert!(matches!(ask.revoke(&*provider, None).await, Err(ProviderError::Unsupported(_))));
}

#[tokio::test]
async fn wrong_keys_clock_and_roles_are_the_brokers_fault() {
    let ground = Ground::start().await;
    let ask = asking(json!({"role": ROLE}));
    let class = |done: Result<Issued, ProviderError>| {
        done.map(drop).map_err(|error| (error.class(), error.to_string()))
    };
    for (id, secret, code) in [
        (ID, "wrong", "SignatureDoesNotMatch"),
        ("AKIDOTHER", ground.secret.as_str(), "InvalidClientTokenId"),
    ] {
        let done = class(ask.issue(&*provider(ground.sts.url(), credentials(id, secret))).await);
        let (class, words) = done.unwrap_err();
        assert!(class == "misconfigured" && words.contains(code), "{words}");
    }
    let late = Asking {
        now: Timestamp::now() - jiff::SignedDuration::from_hours(1),
        ..asking(json!({"role": ROLE}))
    };
    let (late, words) = class(late.issue(&*ground.signing()).await).unwrap_err();
    assert!(late == "misconfigured" && words.contains("RequestExpired"), "{words}");
    let elsewhere = asking(json!({"role": "arn:aws:iam::999999999999:role/x"}));
    assert_eq!(class(elsewhere.issue(&*ground.signing()).await).unwrap_err().0, "misconfigured");
}

#[tokio::test]
async fn a_callers_token_assumes_the_role_itself() {
    let ground = Ground::start().await;
    let provider = ground.by_token();
    let issuer = TestIssuer::named("https://ci.test");
    let token = issuer.mint(json!({"aud": "sts.amazonaws.com"}));
    let text = token.expose_text().unwrap().to_owned();
    assert_eq!(provider.target_audience(&json!({})).as_deref(), Some("sts.amazonaws.com"));
    assert!(matches!(asking(json!({"role": ROLE})).issue(&*provider).await, Err(ProviderError::Denied(_))));

    // Unknown to AWS: tried once more after a second, then refused, and the token is not told on.
    let ask = asking(json!({"role": ROLE})).bringing(token);
    let Err(ProviderError::Denied(words)) = ask.issue(&*provider).await else { panic!("not denied") };
    assert!(words.starts_with("InvalidIdentityToken") && !words.contains(&text), "{words}");
    assert_eq!(ground.sts.seen().len(), 2);

    // Unknown at first only: the issuer's keys were not there yet.
    ground.sts.fail(400, "InvalidIdentityToken");
    ground.sts.accept(&text);
    let issued = ask.issue(&*provider).await.unwrap();
    assert!(!field(&issued, "session_token").is_empty());
    assert_eq!(ground.sts.seen().len(), 2);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_the_rest_is_not() {
    let ground = Ground::start().await;
    let ask = asking(json!({"role": ROLE}));
    ground.sts.fail(400, "Throttling");
    ground.sts.fail_with(502, "<html>bad gateway</html>");
    ask.issue(&*ground.signing()).await.unwrap();
    assert_eq!(ground.sts.seen().len(), 3);

    let token = Secret::text("header.payload.signature".into());
    ground.sts.accept("header.payload.signature");
    let by_token = asking(json!({"role": ROLE})).bringing(token);
    for (status, code, class, tries) in [
        (403, "AccessDenied", "denied", 1),
        (400, "ExpiredTokenException", "transient", 1),
        (403, "IDPRejectedClaim", "denied", 1),
        (400, "MalformedPolicyDocument", "misconfigured", 1),
        (400, "PackedPolicyTooLarge", "misconfigured", 1),
        (403, "RegionDisabledException", "misconfigured", 1),
    ] {
        ground.sts.fail(status, code);
        let error = by_token.issue(&*ground.by_token()).await.unwrap_err();
        assert_eq!((error.class(), ground.sts.seen().len()), (class, tries), "{code}: {error}");
    }
    for _ in 0..3 {
        ground.sts.fail(400, "IDPCommunicationError");
    }
    assert_eq!(by_token.issue(&*ground.by_token()).await.unwrap_err().class(), "transient");
    assert_eq!(ground.sts.seen().len(), 3);
}

#[tokio::test]
async fn an_answer_that_is_not_of_sts_is_not_believed() {
    let ground = Ground::start().await;
    let ask = asking(json!({"role": ROLE}));
    let long = format!("<AssumeRoleResponse>{}</AssumeRoleResponse>", " ".repeat(1 << 20));
    for (status, body) in [
        (200, "<html/>"),
        (200, "{}"),
        (200, "<AssumeRoleResponse/>"),
        (200, "<!DOCTYPE x [<!ENTITY a 'b'>]><AssumeRoleResponse>&a;</AssumeRoleResponse>"),
        (404, "not here"),
        (302, ""),
    ] {
        ground.sts.fail_with(status, body);
        let error = ask.issue(&*ground.signing()).await.unwrap_err();
        assert_eq!(error.class(), "misconfigured", "{status} {body}: {error}");
    }
    for _ in 0..3 {
        ground.sts.fail_with(200, &long);
    }
    assert!(ask.issue(&*ground.signing()).await.is_err());
}

/// The broker's own platform gives it a token; its keys are fetched once and used for an hour at most.
#[tokio::test]
async fn the_brokers_own_session_is_kept() {
    let ground = Ground::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a.b.c\n").unwrap();
    ground.sts.accept("a.b.c");
    let who = ("web_identity", json!({"role": "arn:aws:iam::123456789012:role/broker", "token_file": file}));
    let provider = provider(ground.sts.url(), who);
    assert_eq!(provider.abilities().ttl, (900, 3600));
    for _ in 0..3 {
        asking(json!({"role": ROLE})).issue(&*provider).await.unwrap();
    }
    let actions: Vec<_> =
        ground.sts.seen().into_iter().map(|mut form| form.remove("Action").unwrap()).collect();
    assert_eq!(actions, ["AssumeRoleWithWebIdentity", "AssumeRole", "AssumeRole", "AssumeRole"]);
    // Near the end of an hour: new keys first.
    let later = Timestamp::now() + jiff::SignedDuration::from_mins(56);
    let late = Asking { now: later, ..asking(json!({"role": ROLE})) };
    drop(late.issue(&*provider).await);
    assert_eq!(ground.sts.seen()[0]["Action"], "AssumeRoleWithWebIdentity");
    assert!(provider.check().await.iter().all(|check| check.problem.is_none()));
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn check_tells_keys_that_work_from_others() {
    let ground = Ground::start().await;
    assert!(ground.signing().check().await.iter().all(|check| check.problem.is_none()));
    assert!(ground.by_token().check().await.iter().all(|check| check.problem.is_none()));
    let wrong = provider(ground.sts.url(), credentials(ID, "wrong")).check().await;
    assert!(wrong[0].problem.as_ref().unwrap().contains("SignatureDoesNotMatch"));
    let nobody = provider("http://127.0.0.1:9", ("caller_token", json!({}))).check().await;
    assert!(nobody[0].problem.is_some());
}

#[test]
fn exactly_one_account_and_only_its_accounts() {
    let base = json!({"region": "us-east-1"});
    assert!(build("aws", &base).is_err());
    let mut both = base;
    both["caller_token"] = json!({});
    both["accounts"] = json!(["123456789012"]);
    let provider = build("aws", &both).unwrap();
    assert!(provider.validate(&json!({"role": ROLE})).is_ok());
    assert!(provider.validate(&json!({"role": "arn:aws:iam::210987654321:role/x"})).is_err());
    both["web_identity"] = json!({"role": ROLE, "token_file": "/x"});
    assert!(build("aws", &both).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_reads_our_requests() {
    let Some(cloud) = Cloud::moto() else { return };
    let owner = cloud.keys();
    let provider = provider(
        &cloud.url(),
        credentials(&owner.access_key_id, owner.secret_access_key.expose_text().unwrap()),
    );
    let ask = asking(json!({"role": ROLE, "tags": {"Repository": "{repository}"}}));
    let issued = ask.issue(&*provider).await.unwrap();
    let form = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
    let (status, body) = cloud.query("sts", &keys(&issued), &form).await;
    assert!(status == 200 && body.contains(&format!("/{}", ask.lease.object_name())), "{body}");

    let made = cloud.json("kms", "TrentService.CreateKey", json!({})).await;
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let endpoint = Endpoint::at("kms", "us-east-1", &cloud.url()).unwrap();
    let context = |value: &str| BTreeMap::from([("store".to_owned(), value.to_owned())]);
    let kms = Kms::new(fetch(), endpoint.clone(), key, context("a"));
    let (plain, now) = (Secret::new(secret::random::<32>().to_vec()), Timestamp::now());
    let cipher = kms.encrypt(owner, &plain, now).await.unwrap();
    assert!(kms.decrypt(owner, &cipher, now).await.unwrap().matches(plain.expose()));
    let other = Kms::new(fetch(), endpoint.clone(), key, context("b")).decrypt(owner, &cipher, now).await;
    assert!(matches!(other, Err(ProviderError::Misconfigured(_))), "{other:?}");
    let none = Kms::new(fetch(), endpoint, "alias/none", context("a")).encrypt(owner, &plain, now).await;
    assert!(matches!(none, Err(ProviderError::Misconfigured(_))), "{none:?}");
    assert!(kms.encrypt(owner, &Secret::new(vec![0; 5000]), now).await.is_err());
}

/// Makes what an account needs to trust `https://ci.test` and the user `broker` for the role `deploy`; gives that user's
/// keys.
async fn trust(cloud: &Cloud) -> Keys {
    let iam = async |form: &[(&str, &str)]| {
        let form: Vec<_> = form.iter().copied().chain([("Version", "2010-05-08")]).collect();
        let (status, body) = cloud.query("iam", cloud.keys(), &form).await;
        assert_eq!(status, 200, "{form:?}: {body}");
        body
    };
    let element = |body: &str, name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    iam(&[("Action", "CreateUser"), ("UserName", "broker")]).await;
    let assume = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"], "Resource": "*"}]});
    iam(&[
        ("Action", "PutUserPolicy"),
        ("UserName", "broker"),
        ("PolicyName", "assume"),
        ("PolicyDocument", &assume.to_string()),
    ])
    .await;
    let made = iam(&[("Action", "CreateAccessKey"), ("UserName", "broker")]).await;
    iam(&[
        ("Action", "CreateOpenIDConnectProvider"),
        ("Url", "https://ci.test"),
        ("ClientIDList.member.1", "sts.amazonaws.com"),
        ("ThumbprintList.member.1", &"a".repeat(40)),
    ])
    .await;
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::000000000000:oidc-provider/ci.test"},
         "Action": "sts:AssumeRoleWithWebIdentity",
         "Condition": {"StringEquals": {"ci.test:aud": "sts.amazonaws.com", "ci.test:sub": "repo:example/app"}}},
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/broker"},
         "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
         "Condition": {"StringEquals": {"sts:ExternalId": "right"}}}]});
    iam(&[
        ("Action", "CreateRole"),
        ("RoleName", "deploy"),
        ("AssumeRolePolicyDocument", &policy.to_string()),
    ])
    .await;
    let all =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    iam(&[
        ("Action", "PutRolePolicy"),
        ("RoleName", "deploy"),
        ("PolicyName", "all"),
        ("PolicyDocument", &all.to_string()),
    ])
    .await;
    Keys {
        access_key_id: element(&made, "AccessKeyId"),
        secret_access_key: Secret::text(element(&made, "SecretAccessKey")),
        session_token: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_reads_the_trust_policy() {
    let Some(cloud) = Cloud::ministack() else { return };
    trust(&cloud).await;
    let role = "arn:aws:iam::000000000000:role/deploy";
    let issuer = TestIssuer::named("https://ci.test");
    let token = |audience: &str, subject: &str| issuer.mint(json!({"aud": audience, "sub": subject}));
    let by_token = provider(&cloud.url(), ("caller_token", json!({})));
    let ask = asking(json!({"role": role})).bringing(token("sts.amazonaws.com", "repo:example/app"));
    let issued = ask.issue(&*by_token).await.unwrap();
    let identity = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
    let (status, body) = cloud.query("sts", &keys(&issued), &identity).await;
    assert!(status == 200 && body.contains(&ask.lease.object_name()), "{body}");
    for (audience, subject, role) in [
        ("other", "repo:example/app", role),
        ("sts.amazonaws.com", "repo:example/other", role),
        ("sts.amazonaws.com", "repo:example/app", "arn:aws:iam::000000000000:role/none"),
    ] {
        let ask = asking(json!({"role": role})).bringing(token(audience, subject));
        let refused = ask.issue(&*by_token).await;
        assert!(matches!(refused, Err(ProviderError::Denied(_))), "{audience} {subject} {role}: {refused:?}");
    }
    // The same without a broker.
    let endpoint = Endpoint::at("sts", "us-east-1", &cloud.url()).unwrap();
    let wanted =
        Wanted { role_arn: role, session_name: "job-1", seconds: 900, policy: None, policy_arns: &[] };
    let token = token("sts.amazonaws.com", "repo:example/app");
    let session = sts::assume_role_with_web_identity(&fetch(), &endpoint, &wanted, &token, Timestamp::now())
        .await
        .unwrap();
    assert!(session.arn.ends_with("/job-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ministack_checks_signature_external_id_and_session_policy() {
    let Some(cloud) = Cloud::ministack() else { return };
    let broker = trust(&cloud).await;
    let secret = broker.secret_access_key.expose_text().unwrap();
    let signing = provider(&cloud.url(), credentials(&broker.access_key_id, secret));
    let narrow = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:ListRoles", "Resource": "*"}]});
    let parameters = |external_id: &str| {
        json!({"role": "arn:aws:iam::000000000000:role/deploy", "external_id": external_id, "policy": narrow,
            "tags": {"Repository": "{repository}"}, "source_identity": "gh-{repository_id}"})
    };
    let issued = asking(parameters("right")).issue(&*signing).await.unwrap();
    let list = async |action: &str| {
        cloud.query("iam", &keys(&issued), &[("Action", action), ("Version", "2010-05-08")]).await.0
    };
    assert_eq!((list("ListRoles").await, list("ListUsers").await), (200, 403));

    let refused = asking(parameters("wrong")).issue(&*signing).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    let forged = provider(&cloud.url(), credentials(&broker.access_key_id, "wrong"));
    let refused = asking(parameters("right")).issue(&*forged).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    assert!(signing.check().await.iter().all(|check| check.problem.is_none() || check.is_warning));
    assert!(forged.check().await.iter().any(|check| check.problem.is_some() && !check.is_warning));
}
