#!/usr/bin/env bash
# Lets other libraries read our aggregates and us theirs, 10,000 random ones each.
#
# Wants Python with aws-kinesis-agg==1.2.3 and aiokpl==0.2.0 as $PYTHON, and Node with
# aws-kinesis-agg@4.2.8 in $NODE_PATH. SEED=.. repeats a run, CASES=.. changes its length.
set -euo pipefail
cd "$(dirname "$0")/../../.."
: "${PYTHON:?the Python that has aws-kinesis-agg and aiokpl}"
: "${NODE_PATH:?the node_modules that has aws-kinesis-agg}"
export PYTHON NODE_PATH
exec cargo test --no-default-features --release --test aggregation -- --ignored --nocapture interop::
