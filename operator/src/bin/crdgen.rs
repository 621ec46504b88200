//! Prints the CRD, as `charts/xmpp-operator` and `deploy/operator.yaml` have it.

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let yaml = xmpp_operator::crd_yaml()?;
    std::io::stdout().write_all(yaml.as_bytes())?;
    Ok(())
}
