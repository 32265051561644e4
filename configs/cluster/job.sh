#!/bin/sh
# Hands a run to a Ray cluster that is there already, and follows it:
#
#   STORAGE=s3://my-bucket/runs configs/cluster/job.sh RECIPE [key=value ...]
#
# Ctrl-C ends the following, not the run: `ray job logs -f ID` follows it again, `ray job stop ID` ends it.
set -eu

# Where runs are kept: a place that all machines see and that outlives the cluster.
: "${STORAGE:?say where runs are kept, for example STORAGE=s3://my-bucket/runs}"

# The cluster's dashboard. `ray dashboard FILE` or `kubectl port-forward service/NAME-head-svc 8265` bring it here.
address=${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}

# The token: in RAY_AUTH_TOKEN, or in ~/.ray/auth_token. Ray asks for one where the cluster does.
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-token}"

# Without words of yours: the demo, with one worker or more.
[ $# -gt 0 ] || set -- digits "cluster.num_workers=[1,4]"

# working-dir: this folder is sent, without what .gitignore names, and is where the command runs: recipes and modules of
# yours. 512 MiB at most; `excludes` keeps more of it at home.
# env_vars: the seconds that `ray job stop` gives the command to end in order; Ray's own 3 are too few. Not for secrets,
# which Ray would show in its dashboard; those belong in the environment of the machines.
# --wait: the lock of a command that was killed is waited for, a minute and a half at most.
exec ray job submit --address "$address" --working-dir . \
    --runtime-env-json '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "20"}, "excludes": ["/data", "/docs", "/tests"]}' \
    -- hydra-ray run "$@" "storage=$STORAGE" --wait
