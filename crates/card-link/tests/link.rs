//! Drafters over real sockets: the text is plain decoding's, whatever happens to the link.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::{Limits, Model, Rollback};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::sampler::{Bias, LogitBias, SamplingParams};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::Token;
use card_engine::emulate::{Emulated, Overruns};
use card_engine::{Draft, Engine, Event, Generate, Options, start_lane};
use card_link::{
    Budget, ClientSecurity, Drafting, LinkError, MakeLane, Secret, Secrets, ServerSecurity,
    SharedVocabulary, Terms, Tls,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const VOCABULARY: SharedVocabulary = SharedVocabulary {
    fingerprint: 77,
    tokens: 40,
};
const LIMITS: Limits = Limits {
    context: 400,
    cells: 4000,
    rows: 24,
    leaves: 8,
    rollback: Rollback::Free,
};

fn model(noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: 40,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: LIMITS,
    })
}

/// Forwards take some time, so that there is some for drafts to come.
fn paced(noise: f32, ms: f64) -> Box<dyn Model + Send> {
    let cost = CostCurve::from_points([(1, ms), (24, ms)]);
    Box::new(Emulated::new(model(noise), cost, Overruns::default()))
}

fn options() -> Options {
    Options {
        mode: Mode::Card,
        lanes: Lanes::Disjoint,
        drafter_pause: Duration::from_millis(50),
        lookup: false,
        ..Options::default()
    }
}

fn terms() -> Terms {
    Terms {
        vocabulary: VOCABULARY,
        plan: options().draft_plan(),
        context: LIMITS.context,
        sequences: 1,
    }
}

fn drafting(vocabulary: SharedVocabulary) -> Drafting {
    let turns = Arc::new(Mutex::new(()));
    let make: MakeLane = Arc::new(move |plan, _, _| {
        start_lane(paced(0.3, 0.3), plan, turns.clone()).map_err(|e| e.to_string())
    });
    Drafting {
        vocabulary,
        make,
        budget: Budget::new(8, 1 << 16, LIMITS.context),
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

struct Listening {
    address: SocketAddr,
    task: JoinHandle<Result<(), LinkError>>,
}

/// A drafter that listens.
fn drafter(
    runtime: &Runtime,
    port: u16,
    vocabulary: SharedVocabulary,
    security: ServerSecurity,
) -> Listening {
    let (ready, address) = std::sync::mpsc::channel();
    let task = runtime.spawn(async move {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let never = std::future::pending();
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_drafter(address, drafting(vocabulary), security, never, ready).await
    });
    Listening {
        address: address.recv().unwrap(),
        task,
    }
}

struct WrittenText {
    text: Vec<Token>,
    drafted: usize,
}

fn generate(engine: &Engine, tokens: u32, scope: Option<&str>) -> WrittenText {
    let stream = engine
        .generate(Generate {
            prompt: vec![1, 2, 3],
            max_tokens: tokens,
            drafter: scope.map(str::to_owned),
            ..Generate::default()
        })
        .unwrap();
    let mut written = WrittenText {
        text: Vec::new(),
        drafted: 0,
    };
    while let Some(event) = stream.next() {
        match event {
            Event::Tokens(tokens) => written.text.extend(tokens),
            Event::Round(round) => written.drafted += round.accepted.len(),
            Event::Finished(_) => break,
            Event::Failed(why) => panic!("{why}"),
        }
    }
    written
}

fn plain(tokens: u32) -> Vec<Token> {
    let none: [Draft; 0] = [];
    let engine = Engine::start(Box::new(model(0.0)), none, options()).unwrap();
    generate(&engine, tokens, None).text
}

fn remote(runtime: &Runtime, url: String, security: ClientSecurity) -> Engine {
    let dial = card_link::dial(url, terms(), security, runtime.handle().clone());
    Engine::start(paced(0.0, 4.0), [Draft::remote(dial)], options()).unwrap()
}

/// Generates until drafts were accepted; every text must be plain decoding's.
fn until_drafted(engine: &Engine, scope: Option<&str>, plain: &[Token]) -> Duration {
    let start = Instant::now();
    loop {
        let written = generate(engine, plain.len() as u32, scope);
        assert_eq!(written.text, plain);
        if written.drafted > 0 {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "nobody drafts");
    }
}

#[test]
fn a_remote_drafter_drafts_dies_and_comes_back() {
    let runtime = Runtime::new().unwrap();
    let plain = plain(60);
    let first = drafter(&runtime, 0, VOCABULARY, ServerSecurity::open());
    let port = first.address.port();
    let engine = remote(
        &runtime,
        format!("http://127.0.0.1:{port}"),
        ClientSecurity::default(),
    );
    until_drafted(&engine, None, &plain);
    // Gone, connections and all.
    first.task.abort();
    for _ in 0..3 {
        assert_eq!(generate(&engine, 60, None).text, plain);
    }
    let _again = drafter(&runtime, port, VOCABULARY, ServerSecurity::open());
    until_drafted(&engine, None, &plain);
}

/// What a drafter that dials hears: connected, or refused for good.
fn attached(url: &str, scope: &str, security: &ClientSecurity) -> Result<(), String> {
    let runtime = Runtime::new().unwrap();
    let (tell, mut connected) = tokio::sync::watch::channel(false);
    let told = move |state: Result<(), &LinkError>| {
        if state.is_ok() {
            tell.send_replace(true);
        }
    };
    let shutdown = async {
        let _ = connected.wait_for(|c| *c).await;
    };
    let (drafting, security) = (drafting(VOCABULARY), security.clone());
    let done = card_link::attach(url, drafting, scope, security, shutdown, told);
    let limit = Duration::from_secs(60);
    let done = runtime.block_on(async { tokio::time::timeout(limit, done).await });
    done.expect("neither connected nor refused")
        .map_err(|e| e.to_string())
}

/// A target that takes in drafters, and forgets them.
fn target(runtime: &Runtime, security: ServerSecurity) -> SocketAddr {
    let (ready, address) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_targets(any, terms(), security, |_, _| Ok(()), ready).await
    });
    address.recv().unwrap()
}

#[test]
fn a_drafter_gets_the_text_its_secret_belongs_to_and_no_other() {
    let runtime = Runtime::new().unwrap();
    let secrets = Secrets::parse("laptop a\nphone b\n* all\n").unwrap();
    let security = ServerSecurity::new(Tls::None, secrets, None).unwrap();
    let url = format!("http://{}", target(&runtime, security));
    let of = |secret: &str| match secret {
        "" => ClientSecurity::default(),
        text => ClientSecurity::with_secret(Secret::new(text).unwrap()),
    };
    for (given, scope, admitted) in [
        ("a", "laptop", true),
        ("b", "phone", true),
        ("all", "", true),
        ("all", "laptop", true),
        ("all", "another", true),
        ("a", "phone", false),
        ("a", "", false),
        ("a", "another", false),
        ("b", "laptop", false),
        ("", "laptop", false),
        ("", "", false),
        ("c", "laptop", false),
        ("a", "*", false),
        ("all", "*", false),
    ] {
        let ended = attached(&url, scope, &of(given));
        assert_eq!(ended.is_ok(), admitted, "{given} for {scope:?}: {ended:?}");
    }
}

#[test]
fn the_certificate_of_a_drafter_names_the_text_it_gets() {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // One authority for everybody.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let ca = file("ca.pem", &authority.pem());
    let certificate = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let made = params.signed_by(&key, &*authority).unwrap();
        (
            file(&format!("{name}.pem"), &made.pem()),
            file(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let own = certificate("localhost");
    let tls = Tls::of(Some(&own.0), Some(&own.1), Some(&ca)).unwrap();
    let everyone = Some("all".to_owned());
    let security = ServerSecurity::new(tls, Secrets::default(), everyone).unwrap();
    let url = format!("https://localhost:{}", target(&runtime, security).port());
    let (laptop, all) = (certificate("laptop"), certificate("all"));
    for (shown, scope, admitted) in [
        (&laptop, "laptop", true),
        (&laptop, "phone", false),
        (&laptop, "", false),
        (&all, "", true),
        (&all, "phone", true),
    ] {
        let security = ClientSecurity::new(None, Some(&ca), Some(&shown.0), Some(&shown.1));
        let ended = attached(&url, scope, &security.unwrap());
        assert_eq!(
            ended.is_ok(),
            admitted,
            "{shown:?} for {scope:?}: {ended:?}"
        );
    }
}

#[test]
fn nothing_listens_to_other_machines_without_a_guard() {
    let runtime = Runtime::new().unwrap();
    let beyond = SocketAddr::from(([0, 0, 0, 0], 0));
    let never = std::future::pending();
    let open = ServerSecurity::open();
    let served = card_link::serve_drafter(beyond, drafting(VOCABULARY), open, never, |_| {});
    let why = runtime.block_on(served).unwrap_err().to_string();
    assert!(why.contains("--link-token"), "{why}");
    let open = ServerSecurity::open();
    let served = card_link::serve_targets(beyond, terms(), open, |_, _| Ok(()), |_| {});
    let why = runtime.block_on(served).unwrap_err().to_string();
    assert!(why.contains("--link-token"), "{why}");
}

#[test]
fn a_ban_reaches_a_remote_drafter_and_its_link_lives() {
    let runtime = Runtime::new().unwrap();
    let listening = drafter(&runtime, 0, VOCABULARY, ServerSecurity::open());
    let url = format!("http://{}", listening.address);
    let engine = remote(&runtime, url, ClientSecurity::default());
    until_drafted(&engine, None, &plain(40));
    let failures = engine.lane_times().drafter_failures;
    for bias in [Bias::Ban, Bias::add(-100.0).unwrap()] {
        let params = SamplingParams {
            logit_bias: LogitBias::new([(5, bias)]).unwrap(),
            ..SamplingParams::default()
        };
        let stream = engine
            .generate(Generate {
                prompt: vec![1, 2, 3],
                max_tokens: 40,
                params,
                ..Generate::default()
            })
            .unwrap();
        while let Some(event) = stream.next() {
            match event {
                Event::Finished(_) => break,
                Event::Failed(why) => panic!("{why}"),
                _ => {}
            }
        }
    }
    assert_eq!(engine.lane_times().drafter_failures, failures);
    assert_eq!(engine.lane_times().drafters, 1);
}

#[test]
fn one_drafter_serves_several_targets_and_a_target_uses_several_drafters() {
    let runtime = Runtime::new().unwrap();
    let plain = plain(60);
    let one = drafter(&runtime, 0, VOCABULARY, ServerSecurity::open());
    let two = drafter(&runtime, 0, VOCABULARY, ServerSecurity::open());
    let url = |l: &Listening| format!("http://{}", l.address);
    let dial = |l: &Listening| {
        let runtime = runtime.handle().clone();
        Draft::remote(card_link::dial(
            url(l),
            terms(),
            ClientSecurity::default(),
            runtime,
        ))
    };
    let a = Engine::start(paced(0.0, 4.0), [dial(&one), dial(&two)], options()).unwrap();
    let b = Engine::start(paced(0.0, 4.0), [dial(&one)], options()).unwrap();
    until_drafted(&a, None, &plain);
    until_drafted(&b, None, &plain);
    assert_eq!(a.lane_times().drafters, 2);
    drop(two.task);
}

#[test]
fn a_drafter_that_dials_is_for_those_that_name_it() {
    let runtime = Runtime::new().unwrap();
    let plain = plain(60);
    let none: [Draft; 0] = [];
    let engine = Arc::new(Engine::start(paced(0.0, 4.0), none, options()).unwrap());
    let (ready, address) = std::sync::mpsc::channel();
    let taker = engine.clone();
    runtime.spawn(async move {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let came = move |end, scope| taker.attach(end, scope).map_err(|e| e.to_string());
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_targets(any, terms(), ServerSecurity::open(), came, ready).await
    });
    let url = format!("http://{}", address.recv().unwrap());
    let attached = runtime.spawn(async move {
        let never = std::future::pending();
        let security = ClientSecurity::default();
        card_link::attach(&url, drafting(VOCABULARY), "mine", security, never, |_| {}).await
    });
    until_drafted(&engine, Some("mine"), &plain);
    let other = generate(&engine, 60, None);
    assert_eq!((other.text, other.drafted), (plain.clone(), 0));
    attached.abort();
    assert_eq!(generate(&engine, 60, Some("mine")).text, plain);
}

fn refusal(runtime: &Runtime, url: &str, security: &ClientSecurity) -> String {
    let mut dial = card_link::dial(
        url.to_owned(),
        terms(),
        security.clone(),
        runtime.handle().clone(),
    );
    let (_near, far) = card_engine::ends(Duration::ZERO);
    dial(far).unwrap_err()
}

#[test]
fn strangers_are_refused_and_told_why() {
    let runtime = Runtime::new().unwrap();
    let foreign = SharedVocabulary {
        fingerprint: 78,
        ..VOCABULARY
    };
    let other = drafter(&runtime, 0, foreign, ServerSecurity::open());
    let open = ClientSecurity::default();
    let why = refusal(&runtime, &format!("http://{}", other.address), &open);
    assert!(why.contains("vocabularies differ"), "{why}");
    let guarded = Secrets::parse("* secret\nlaptop own\n").unwrap();
    let guarded = ServerSecurity::new(Tls::None, guarded, None).unwrap();
    let guarded = drafter(&runtime, 0, VOCABULARY, guarded);
    let url = format!("http://{}", guarded.address);
    assert!(refusal(&runtime, &url, &open).contains("token"));
    let wrong = ClientSecurity::with_secret(secret("secreT"));
    assert!(refusal(&runtime, &url, &wrong).contains("token"));
    // That is a drafter's, for its own text; targets share the token.
    let another = ClientSecurity::with_secret(secret("own"));
    assert!(refusal(&runtime, &url, &another).contains("token"));
    let right = ClientSecurity::with_secret(secret("secret"));
    let engine = remote(&runtime, url, right);
    until_drafted(&engine, None, &plain(30));
    let why = refusal(&runtime, "http://127.0.0.1:9", &open);
    assert!(why.contains("cannot reach"), "{why}");
    assert!(refusal(&runtime, "nonsense", &open).contains("no address"));
}

#[test]
fn with_certificates_on_both_sides() {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // Each side's certificate is its own authority.
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (
            file(&format!("{name}.pem"), &made.cert.pem()),
            file(&format!("{name}.key"), &made.signing_key.serialize_pem()),
        )
    };
    let (theirs, ours) = (certificate("drafter"), certificate("target"));
    let tls = Tls::of(Some(&theirs.0), Some(&theirs.1), Some(&ours.0)).unwrap();
    let security = ServerSecurity::new(tls, Secrets::default(), None).unwrap();
    let listening = drafter(&runtime, 0, VOCABULARY, security);
    let url = format!("https://localhost:{}", listening.address.port());
    let with = |identity: Option<&(PathBuf, PathBuf)>| {
        let (cert, key) = identity.map(|i| (&*i.0, &*i.1)).unzip();
        ClientSecurity::new(None, Some(&theirs.0), cert, key).unwrap()
    };
    let engine = remote(&runtime, url.clone(), with(Some(&ours)));
    until_drafted(&engine, None, &plain(30));
    refusal(&runtime, &url, &with(None));
}
