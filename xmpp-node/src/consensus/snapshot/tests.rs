//! Snapshots on real files: whole, or refused by name.

use std::collections::{BTreeMap, BTreeSet};

use openraft::testing::log_id;
use openraft::type_config::alias::StoredMembershipOf;
use tempfile::TempDir;

use super::super::types::{Member, Membership, TypeConfig};
use super::*;

fn meta(index: u64) -> SnapshotMeta {
    let member = Member {
        name: "xmpp-0".to_owned(),
        peer: "xmpp-0.peers:7222".to_owned(),
    };
    let members = BTreeMap::from([(7, member)]);
    let membership = Membership::new(vec![BTreeSet::from([7])], members).expect("has its node");
    SnapshotMeta {
        last_log_id: Some(log_id::<TypeConfig>(2, 7, index)),
        last_membership: StoredMembershipOf::<TypeConfig>::new(
            Some(log_id::<TypeConfig>(1, 7, 1)),
            membership,
        ),
    }
}

fn save(store: &SnapshotStore, index: u64, data: &[u8]) -> SnapshotData {
    let saved = store.save(&meta(index), |out| out.write_all(data));
    saved.expect("saves")
}

/// Index and data of the snapshot in a store.
fn load(store: &SnapshotStore) -> Option<(SnapshotMeta, Bytes)> {
    let (meta, data) = store.load().expect("reads")?;
    Some((meta, all(&data)))
}

fn all(data: &SnapshotData) -> Bytes {
    let mut bytes = Vec::new();
    data.reader().read_to_end(&mut bytes).expect("reads");
    bytes.into()
}

#[test]
fn the_last_snapshot_saved_is_the_one_loaded() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    assert_eq!(load(&store), None);
    save(&store, 5, b"five");
    save(&store, 9, b"");
    let store = SnapshotStore::open(dir.path()).expect("opens again");
    assert_eq!(load(&store), Some((meta(9), Bytes::new())));
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
}

#[test]
fn an_interrupted_save_leaves_the_old_snapshot() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    save(&store, 5, b"five");
    fs::write(store.unfinished(), b"xmppsnap half of").expect("writes");
    let store = SnapshotStore::open(dir.path()).expect("opens again");
    let data = Bytes::from_static(b"five");
    assert_eq!(load(&store), Some((meta(5), data)));
    assert!(!store.unfinished().exists());
}

#[test]
fn what_was_opened_stays_readable_beside_its_successors() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    let long: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
    let first = save(&store, 5, &long);
    let (_, again) = store.load().expect("reads").expect("is there");
    save(&store, 9, b"nine");
    for data in [&first, &again] {
        assert_eq!(data.len(), long.len() as u64);
        assert_eq!(all(data), long);
        assert_eq!(data.piece(299_000, 5000).expect("reads"), long[299_000..]);
        assert_eq!(data.piece(7, 5).expect("reads"), long[7..12]);
    }
}

#[test]
fn a_snapshot_that_comes_in_pieces_is_whole_and_leaves_no_file() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    let mut incoming = store.incoming().expect("there is room");
    for piece in [&b"one "[..], b"and ", b"two"] {
        incoming.push(piece).expect("writes");
    }
    assert_eq!(incoming.len(), 11);
    assert_eq!(all(&incoming.finish()), &b"one and two"[..]);
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 0);
}

#[test]
fn damage_to_any_byte_and_any_cut_is_an_error_that_names_the_file() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    save(&store, 5, b"some state");
    let good = fs::read(store.path()).expect("reads");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        for bad in [&bad[..], &good[..at]] {
            fs::write(store.path(), bad).expect("writes");
            let error = store.load().expect_err("is refused").to_string();
            assert!(error.contains("state.snapshot"), "{error}");
        }
    }
}

#[test]
fn a_full_disk_is_told_by_path_and_with_what_to_do() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = SnapshotStore::open(dir.path()).expect("opens");
    save(&store, 5, b"five");
    let full = store.save(&meta(9), |_| Err(io::ErrorKind::StorageFull.into()));
    let error = full.expect_err("the disk is full").to_string();
    let begin = format!("writing {}: ", dir.path().join("state.tmp").display());
    assert!(error.starts_with(&begin), "{error}");
    assert!(error.contains("make room there"), "{error}");
    assert_eq!(load(&store), Some((meta(5), Bytes::from_static(b"five"))));
}
