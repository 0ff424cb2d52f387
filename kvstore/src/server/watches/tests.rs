use etcd_client::proto::PbPutRequest;

use super::super::limits::Limits;
use super::*;

#[test]
fn holds_back_progress_until_nothing_is_left_to_see() {
    let store = store_with(2_500);
    let mut watches = Watches::new(
        Arc::new(Permission::Everything),
        Usage::new(&Limits::default()),
    );
    watch(&mut watches, "k/");
    let progress = PbWatchRequestUnion::ProgressRequest(Default::default());
    assert_eq!(watches.handle_request(progress, store.revision()), None);

    let steps = run(&mut watches, &store);

    let last = steps.last().unwrap();
    let answers: Vec<i64> = steps.concat().iter().map(|it| it.watch_id).collect();
    assert_eq!(answers, [0, 0, 0, PROGRESS_WATCH_ID]);
    assert_eq!(revision(&last[1]), store.revision());
}

#[test]
fn moves_all_watches_on_together_and_repeats_nothing() {
    let store = store_with(2_500);
    let mut watches = Watches::new(
        Arc::new(Permission::Everything),
        Usage::new(&Limits::default()),
    );
    watch(&mut watches, "k/1");
    watch(&mut watches, "k/");

    let steps = run(&mut watches, &store);

    assert_eq!(steps.len(), 3);
    for step in &steps {
        assert_eq!(
            step.iter().map(|it| it.watch_id).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(revision(&step[0]), revision(&step[1]));
    }
    let events: usize = steps
        .concat()
        .iter()
        .filter(|it| it.watch_id == 1)
        .map(|it| it.events.len())
        .sum();
    assert_eq!(events, 2_500);
    assert_eq!(
        watches.step(&store, store.revision()),
        Step::default(),
        "everything was sent"
    );
}

#[test]
fn stops_within_a_round_once_it_has_read_enough() {
    let mut store = Store::default();
    for _ in 0..4 {
        put_value(&mut store, vec![b'x'; 200 << 10]);
    }
    let mut watches = Watches::new(
        Arc::new(Permission::Everything),
        Usage::new(&Limits::default()),
    );
    for _ in 0..5 {
        watch(&mut watches, "k/");
    }

    let steps = run(&mut watches, &store);

    let ids: Vec<Vec<i64>> = steps
        .iter()
        .map(|step| step.iter().map(|it| it.watch_id).collect())
        .collect();
    assert_eq!(ids, [vec![0, 1], vec![2, 3], vec![4]]);
    assert!(steps.concat().iter().all(|it| it.events.len() == 4));
}

#[test]
fn reports_progress_only_of_quiet_watches() {
    let mut store = store_with(1);
    let mut watches = Watches::new(
        Arc::new(Permission::Everything),
        Usage::new(&Limits::default()),
    );
    watch(&mut watches, "k/");
    watch(&mut watches, "other/");
    for watch in watches.by_id.values_mut() {
        watch.progress_notify = true;
    }
    assert_eq!(
        watches.notify_progress(store.revision()),
        [],
        "neither has seen revision 2 yet"
    );

    run(&mut watches, &store);
    let quiet: Vec<i64> = watches
        .notify_progress(store.revision())
        .iter()
        .map(|it| it.watch_id)
        .collect();
    assert_eq!(quiet, [1]);

    put(&mut store, 0);
    run(&mut watches, &store);
    assert_eq!(watches.notify_progress(store.revision()).len(), 1);
    assert_eq!(
        watches.notify_progress(store.revision()).len(),
        2,
        "both are quiet now"
    );
}

#[test]
fn ends_the_watches_that_are_not_permitted_any_more() {
    let store = store_with(1);
    let mut watches = Watches::new(
        Arc::new(Permission::Everything),
        Usage::new(&Limits::default()),
    );
    watch(&mut watches, "k/");
    watch(&mut watches, "other/");
    let head = store.revision();

    let less = [KeyRange::of_request(b"other/", b"other/~")];
    let less = Arc::new(Permission::ranges(less, []));
    let responses = watches.permit(Arc::clone(&less), head);

    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!(responses.len(), 1);
    assert!(responses[0].canceled && responses[0].watch_id == 0);
    assert_eq!(responses[0].cancel_reason, denied);
    assert_eq!(watches.permit(less, head), [], "nothing new");
    assert_eq!(run(&mut watches, &store), [[]], "revision 2 was of k/");

    let nobody = Permission::Nothing(Refusal::InvalidAuthToken);
    let responses = watches.permit(Arc::new(nobody), head);
    let invalid = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert_eq!(responses[0].cancel_reason, invalid);
}

/// Steps until nothing is due, without what is empty.
fn run(watches: &mut Watches, store: &Store) -> Vec<Vec<PbWatchResponse>> {
    let mut steps = Vec::new();
    loop {
        let step = watches.step(store, store.revision());
        steps.push(step.responses);
        if !step.behind {
            return steps;
        }
    }
}

/// Watches everything under `prefix` from the start.
fn watch(watches: &mut Watches, prefix: &str) {
    let mut request = PbWatchRequestUnion::CreateRequest(Default::default());
    if let PbWatchRequestUnion::CreateRequest(create) = &mut request {
        create.key = prefix.into();
        create.range_end = format!("{prefix}~").into();
        create.start_revision = 2;
    }
    assert!(watches.handle_request(request, 1).unwrap().created);
}

fn store_with(puts: usize) -> Store {
    let mut store = Store::default();
    (0..puts).for_each(|number| put(&mut store, number));
    store
}

fn put(store: &mut Store, number: usize) {
    let request = PbPutRequest {
        key: format!("k/{}", number % 10).into(),
        ..PbPutRequest::default()
    };
    store.put(request).unwrap();
}

fn put_value(store: &mut Store, value: Vec<u8>) {
    let request = PbPutRequest {
        key: "k/large".into(),
        value,
        ..PbPutRequest::default()
    };
    store.put(request).unwrap();
}

fn revision(response: &PbWatchResponse) -> i64 {
    response.header.as_ref().unwrap().revision
}
