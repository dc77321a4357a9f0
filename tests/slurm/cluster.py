"""A real SLURM cluster on one Debian machine: four nodes, accounting, all state in one directory.

    python -m tests.slurm.cluster [--number N] up | down | status
    python -m tests.slurm.cluster [--number N] run -- COMMAND…      # up, the command with SLURM_CONF set, down

Several, with numbers, may be up side by side. Runs as root. Nothing of it is shared with a SLURM that the machine may
have: own ports, own munge, own database. `run` installs Debian's packages if they are missing; where a cluster can't
be had it says why and runs the command without one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
DIRECTORY = Path("/tmp/hydra-wandb-sweeper-slurm")
NODES = ("n1", "n2", "n3", "n4")
CPUS_PER_NODE = 8
# Also how many tasks one job array may have: small, so that tests meet the limit.
MAX_ARRAY_SIZE = 16
# Jobs that a user may have submitted at a time in the partition `few`.
MAX_SUBMIT_JOBS = 5
# Of cluster 0; those of the next are 100 higher.
_PORTS = {"mariadb": 17301, "slurmdbd": 17302, "slurmctld": 17303, "slurmd": 17310}
_DAEMON_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

SLURM_CONF = """
ClusterName=hydra
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/pid/slurmctld.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdPidFile={directory}/pid/slurmd-%n.pid
SlurmdLogFile={directory}/log/slurmd-%n.log
SlurmdSpoolDir={directory}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
JobAcctGatherParams=OverMemoryKill,UsePss
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=4000
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=2,defer_batch
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
OverTimeLimit=0
KillWait=3
MinJobAge=86400
MaxArraySize={max_array_size}
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
AccountingStoragePass={directory}/munge/socket
AccountingStorageEnforce=limits,qos
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports} CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1
PartitionName=low Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=few Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=1 QOS=few
"""

SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser=root
PidFile={directory}/pid/slurmdbd.pid
LogFile={directory}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
"""

DATABASE_SQL = """
CREATE DATABASE IF NOT EXISTS slurm_acct;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct.* TO 'slurm'@'127.0.0.1';
GRANT ALL ON slurm_acct.* TO 'slurm'@'localhost';
"""


class ClusterError(RuntimeError):
    """The cluster can't be brought up; the text says why."""


class Cluster:
    """directory: where everything of it is."""

    def __init__(self, number: int = 0) -> None:
        self.directory = Path(f"{DIRECTORY}-{number}") if number else DIRECTORY
        self.conf = self.directory / "etc" / "slurm.conf"
        self._ports = {name: port + 100 * number for name, port in _PORTS.items()}
        # Kept, or Python would complain of processes that outlive their object.
        self._started: dict[Sequence[str], subprocess.Popen[bytes]] = {}
        self.env = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": _path_with_daemons()}

    @classmethod
    def in_use(cls) -> Cluster | None:
        """Return the one that SLURM_CONF names, None if it names none of these."""
        clusters = (cls(number) for number in range(10))
        return next((c for c in clusters if os.environ.get("SLURM_CONF") == str(c.conf)), None)

    def up(self) -> None:
        """Bring it up from nothing. Raises: ClusterError with the end of the log that tells why it can't."""
        self.down()
        for name in ("etc", "munge", "mariadb", "state", "pid", "log", "spool"):
            (self.directory / name).mkdir(parents=True)
        self.directory.chmod(0o755)
        self._write_configuration()
        self._start_munge()
        self._start_mariadb()
        self._start("slurmdbd", "-D")
        self._until("slurmdbd answers", lambda: self._answers("sacctmgr", "-n", "list", "cluster"))
        for words in (
            "add cluster hydra",
            "add account tests",
            "add user root account=tests",
            "add qos few",
            f"modify qos few set MaxSubmitJobsPerUser={MAX_SUBMIT_JOBS}",
        ):
            self._ask("sacctmgr", "-i", *words.split())
        self._start("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        self._until("all nodes are idle", lambda: self._node_states() == {"idle"})

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start("slurmd", "-D", "-N", node, log=f"slurmd-{node}")

    def down(self) -> None:
        """End every process of it and remove its directory."""
        if any("slurmctld" in _command(pid) for pid in self._pids()):
            self._ask("scancel", "--user=root", check=False)
        for attempt in range(2):
            for pid in self._pids():
                os.kill(pid, signal.SIGTERM if attempt == 0 else signal.SIGKILL)
            deadline = time.monotonic() + 10
            while self._pids() and time.monotonic() < deadline:
                time.sleep(0.1)
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> str:
        """What sinfo says."""
        return self._ask("sinfo", "-N", "-l")

    def kill_node(self, node: str) -> None:
        """The node loses power: its slurmd and everything that runs on it are gone, without a word."""
        # Processes of jobs have the environment of whoever submitted them.
        marks = {"SLURMD_NODENAME": node, "SLURM_CONF": str(self.conf)}
        pids = {pid for pid in _all_pids() if marks.items() <= self._environ(pid).items()}
        steps = {pid for pid in map(_parent, pids) if "slurmstepd" in _command(pid)}
        daemons = {pid for pid in self._pids() if f" -N {node}" in _command(pid)}
        # First those that would report the deaths of the others.
        for pid in (*daemons, *steps, *pids):
            with _gone_is_fine():
                os.kill(pid, signal.SIGKILL)

    def _environ(self, pid: int) -> dict[str, str]:
        try:
            text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
        except OSError:
            return {}
        return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)

    def _pids(self) -> list[int]:
        """Processes that were started with this cluster's configuration in their environment."""
        marked = [p for p in _all_pids() if self._environ(p).get("HYDRA_TEST_CLUSTER") == str(self.directory)]
        return [pid for pid in marked if pid != os.getpid()]

    def _write_configuration(self) -> None:
        first = self._ports["slurmd"]
        values = {
            **self._ports,
            "directory": self.directory,
            "host": socket.gethostname().partition(".")[0],
            "nodes": ",".join(NODES),
            "node_ports": f"[{first}-{first + len(NODES) - 1}]",
            "cpus": CPUS_PER_NODE,
            "max_array_size": MAX_ARRAY_SIZE,
        }
        self.conf.write_text(SLURM_CONF.format(**values))
        slurmdbd = self.directory / "etc" / "slurmdbd.conf"
        slurmdbd.write_text(SLURMDBD_CONF.format(**values))
        slurmdbd.chmod(0o600)

    def _start_munge(self) -> None:
        directory = self.directory / "munge"
        key = directory / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        user = pwd.getpwnam("munge")
        for path in (directory, key):
            os.chown(path, user.pw_uid, user.pw_gid)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={directory / name}" for option, name in files.items()]
        self._start("munged", "--foreground", *options, user="munge")
        self._until("munge answers", lambda: self._answers("munge", "-n", "-S", str(directory / "socket")))

    def _start_mariadb(self) -> None:
        directory = self.directory / "mariadb"
        shutil.chown(directory, "mysql", "mysql")
        data = directory / "data"
        install = ["mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db"]
        with _one_at_a_time():  # it makes tables of fixed names below /tmp
            self._ask(*install, "--auth-root-authentication-method=normal")
        self._start(
            "mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={data}",
            f"--socket={directory}/socket",
            f"--pid-file={directory}/pid",
            f"--port={self._ports['mariadb']}",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0",
        )
        sql = ["mariadb", "--no-defaults", "-u", "root", f"--socket={directory}/socket", "-e"]
        self._until("the database answers", lambda: self._answers(*sql, DATABASE_SQL))

    def _start(self, *command: str, log: str | None = None, user: str | None = None) -> None:
        path = self.directory / "log" / f"{log or command[0]}.out"
        with open(path, "ab") as file:
            self._started[command] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**self.env, "HYDRA_TEST_CLUSTER": str(self.directory)},
                cwd="/",
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )

    def _ask(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(command[:3])} says: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def _answers(self, *command: str) -> bool:
        self._ask(*command)
        return True

    def _node_states(self) -> set[str]:
        return set(self._ask("sinfo", "-h", "-N", "-o", "%T").split())

    def _until(self, what: str, holds: Callable[[], object], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        problem: object = "no answer"
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except ClusterError as error:
                problem = error
            time.sleep(0.2)
        logs = "\n".join(f"{p.name}: {_tail(p)}" for p in sorted((self.directory / "log").iterdir()) if _tail(p))
        raise ClusterError(f"not within {timeout_s:.0f} s: {what}; {problem}\n{logs}")


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


class _gone_is_fine:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, ProcessLookupError)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _tail(path: Path, lines: int = 5) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _path_with_daemons() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), *_DAEMON_DIRECTORIES])


def obstacle(install: bool) -> str | None:
    """Return why there can be no cluster here, None if there can. install: bring missing packages along."""
    if sys.platform != "linux" or not shutil.which("apt-get"):
        return "it needs Debian's SLURM packages"
    if os.geteuid() != 0:
        return "it needs root"
    programs = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sacctmgr")
    if all(map(_which, programs)):
        return None
    if not install:
        return f"Debian's packages {', '.join(PACKAGES)} are not installed"
    with _one_at_a_time():  # another cluster may be about to install them too
        return None if all(map(_which, programs)) else _install()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for other clusters of this machine that are within it."""
    with open(f"{DIRECTORY}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _which(program: str) -> str | None:
    return shutil.which(program, path=_path_with_daemons())


def _install() -> str | None:
    print(f"Installing {', '.join(PACKAGES)} for the SLURM tests.", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=env, capture_output=True, text=True)
        if done.returncode != 0:
            return f"`apt-get {command[0]}` failed: {done.stderr.strip()[-500:]}"
    return None


def _run(cluster: Cluster, command: Sequence[str]) -> int:
    env = dict(os.environ)
    reason = obstacle(install=True)
    if reason is None:
        try:
            cluster.up()
            env = cluster.env
        except ClusterError as error:
            reason = str(error)
    if reason is not None:
        print(f"No SLURM cluster here, its tests are skipped: {reason}", flush=True)
        env["HYDRA_NO_CLUSTER"] = reason
    try:
        return subprocess.run(command, env=env).returncode
    finally:
        if reason is None:
            cluster.down()


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=0, choices=range(10), help="which of several")
    parser.add_argument("action", choices=["up", "down", "status", "run"])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for run: -- COMMAND…")
    options = parser.parse_args()
    cluster = Cluster(options.number)
    if options.action == "run":
        return _run(cluster, options.command[1:] if options.command[:1] == ["--"] else options.command)
    if options.action == "up":
        reason = obstacle(install=True)
        if reason is not None:
            print(f"No SLURM cluster here: {reason}", file=sys.stderr)
            return 1
        cluster.up()
        print(f"export SLURM_CONF={cluster.conf}")
    elif options.action == "down":
        cluster.down()
    else:
        print(cluster.status())
    return 0


if __name__ == "__main__":
    sys.exit(main())
