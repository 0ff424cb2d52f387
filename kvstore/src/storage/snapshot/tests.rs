use proptest::prelude::*;

use super::*;
use crate::mvcc::Alarms;

proptest! {
    #[test]
    fn holds_the_whole_image(image in image_strategy()) {
        let bytes = written(image.clone());

        prop_assert_eq!(bytes.len() % ALIGNMENT_BYTES, CHECKSUM_BYTES, "as etcd's tools demand");
        prop_assert_eq!(decode(&bytes), Ok(image));
    }

    #[test]
    fn notices_whatever_is_changed(image in image_strategy(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = written(image);
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        prop_assert!(decode(&bytes).is_err());
        bytes.truncate(place);
        prop_assert!(decode(&bytes).is_err());
    }

    /// Even if a checksum is right, what it covers may not be.
    #[test]
    fn never_panics_over_what_it_reads(data in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = [MAGIC.as_slice(), &data].concat();
        bytes.extend(digest(&SHA256, &bytes).as_ref());
        let _ = decode(&bytes);
    }
}

#[test]
fn counts_down_to_the_checksum() {
    let entries = (2..400).map(|revision| entry(revision, "key", &"x".repeat(500)));
    let image = Image {
        entries: entries.collect(),
        revision: 400,
        ..Image::default()
    };
    let chunks: Vec<Chunk> = Writer::new(image).collect();

    let total: usize = chunks.iter().map(|it| it.bytes.len()).sum();
    assert!(3 < chunks.len());
    let mut sent = 0;
    for chunk in &chunks {
        sent = (sent + chunk.bytes.len()).min(total - CHECKSUM_BYTES);
        assert_eq!(chunk.remaining_bytes, total - CHECKSUM_BYTES - sent);
    }
    assert_eq!(chunks.last().unwrap().bytes.len(), CHECKSUM_BYTES);
}

#[test]
fn says_why_it_cannot_be_read() {
    let good = written(Image::default());
    let mut newer = good.clone();
    newer[15] = 2;
    let mut torn = good;
    torn[20] ^= 1;

    assert_eq!(decode(&newer), Err(DecodeError::Version));
    assert_eq!(decode(&torn), Err(DecodeError::Checksum));
    assert_eq!(
        decode(b"something else entirely"),
        Err(DecodeError::Foreign)
    );
    assert_eq!(decode(b""), Err(DecodeError::Foreign));
}

fn written(image: Image) -> Vec<u8> {
    Writer::new(image).flat_map(|it| it.bytes).collect()
}

fn image_strategy() -> impl Strategy<Value = Image> {
    let entries = prop::collection::vec(("[a-z]{1,9}", "[a-z]{0,600}"), 0..90);
    let leases = prop::collection::vec((any::<i64>(), any::<i64>()), 0..5);
    let auth_state = prop::option::of(prop::collection::vec(any::<u8>(), 0..50));
    (entries, leases, auth_state, any::<(bool, bool, i64)>()).prop_map(
        |(entries, leases, auth_state, (corrupt, no_space, revision))| Image {
            alarms: Alarms { corrupt, no_space },
            auth_state: auth_state.map(Arc::from),
            compacted_revision: revision / 2,
            entries: (2..)
                .zip(entries)
                .map(|(revision, (key, value))| entry(revision / 3 + 2, &key, &value))
                .collect(),
            leases,
            revision,
        },
    )
}

fn entry(mod_revision: i64, key: &str, value: &str) -> Arc<Entry> {
    Arc::new(Entry {
        key: Arc::from(key.as_bytes()),
        value: Arc::from(value.as_bytes()),
        create_revision: 2,
        mod_revision,
        version: 1,
        lease: mod_revision % 2,
    })
}
