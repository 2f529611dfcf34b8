//! Drafters over real sockets: the text is plain decoding's, whatever happens to the link.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::{Limits, Model};
use card_core::policy::{Lanes, Mode};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::Token;
use card_engine::emulate::{Emulated, Overruns};
use card_engine::{Draft, Engine, Event, Generate, Options, start_lane};
use card_link::{ClientSecurity, LinkError, MakeLane, ServerSecurity, Terms};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const VOCABULARY: u64 = 77;
const LIMITS: Limits = Limits {
    context: 400,
    cells: 4000,
    rows: 24,
    leaves: 8,
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
        free_sources: false,
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

fn lane() -> MakeLane {
    let turns = Arc::new(Mutex::new(()));
    Arc::new(move |plan, _, _| {
        start_lane(paced(0.3, 0.3), plan, turns.clone()).map_err(|e| e.to_string())
    })
}

struct Listening {
    address: SocketAddr,
    task: JoinHandle<Result<(), LinkError>>,
}

/// A drafter that listens.
fn drafter(runtime: &Runtime, port: u16, vocabulary: u64, security: ServerSecurity) -> Listening {
    let (ready, address) = std::sync::mpsc::channel();
    let task = runtime.spawn(async move {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let never = std::future::pending();
        let ready = move |a| ready.send(a).unwrap();
        card_link::serve_drafter(address, vocabulary, lane(), security, never, ready).await
    });
    Listening {
        address: address.recv().unwrap(),
        task,
    }
}

struct Written {
    text: Vec<Token>,
    drafted: usize,
}

fn generate(engine: &Engine, tokens: u32, scope: Option<&str>) -> Written {
    let stream = engine
        .generate(Generate {
            prompt: vec![1, 2, 3],
            max_tokens: tokens,
            drafter: scope.map(str::to_owned),
            ..Generate::default()
        })
        .unwrap();
    let mut written = Written {
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
    let first = drafter(&runtime, 0, VOCABULARY, ServerSecurity::default());
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
    let _again = drafter(&runtime, port, VOCABULARY, ServerSecurity::default());
    until_drafted(&engine, None, &plain);
}

#[test]
fn one_drafter_serves_several_targets_and_a_target_uses_several_drafters() {
    let runtime = Runtime::new().unwrap();
    let plain = plain(60);
    let one = drafter(&runtime, 0, VOCABULARY, ServerSecurity::default());
    let two = drafter(&runtime, 0, VOCABULARY, ServerSecurity::default());
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
        card_link::serve_targets(any, terms(), ServerSecurity::default(), came, ready).await
    });
    let url = format!("http://{}", address.recv().unwrap());
    let attached = runtime.spawn(async move {
        let never = std::future::pending();
        let security = ClientSecurity::default();
        card_link::attach(&url, VOCABULARY, "mine", lane(), security, never, |_| {}).await
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
    let other = drafter(&runtime, 0, VOCABULARY + 1, ServerSecurity::default());
    let open = ClientSecurity::default();
    let why = refusal(&runtime, &format!("http://{}", other.address), &open);
    assert!(why.contains("vocabularies differ"), "{why}");
    let guarded = ServerSecurity {
        token: Some("secret".into()),
        ..ServerSecurity::default()
    };
    let guarded = drafter(&runtime, 0, VOCABULARY, guarded);
    let url = format!("http://{}", guarded.address);
    assert!(refusal(&runtime, &url, &open).contains("token"));
    let wrong = ClientSecurity {
        token: Some("secreT".into()),
        ..ClientSecurity::default()
    };
    assert!(refusal(&runtime, &url, &wrong).contains("token"));
    let right = ClientSecurity {
        token: Some("secret".into()),
        ..ClientSecurity::default()
    };
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
    let security = ServerSecurity {
        identity: Some(theirs.clone()),
        client_ca: Some(ours.0.clone()),
        token: None,
    };
    let listening = drafter(&runtime, 0, VOCABULARY, security);
    let url = format!("https://localhost:{}", listening.address.port());
    let known = ClientSecurity {
        ca: Some(theirs.0),
        identity: Some(ours),
        token: None,
    };
    let engine = remote(&runtime, url.clone(), known.clone());
    until_drafted(&engine, None, &plain(30));
    let stranger = ClientSecurity {
        identity: None,
        ..known
    };
    refusal(&runtime, &url, &stranger);
}
