//! Everything that the fuzzer ever found worth keeping is well.

use std::path::Path;

use xmpp_tests::fuzz::TARGETS;

#[test]
fn every_input_of_the_corpus_is_well() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let inputs = std::fs::read_dir(root.join(name)).expect(name);
        let mut count = 0;
        for input in inputs {
            let path = input.expect("an entry").path();
            println!("{}", path.display());
            target(&std::fs::read(path).expect("a file"));
            count += 1;
        }
        assert!(count > 0, "{name} has a corpus");
    }
}
