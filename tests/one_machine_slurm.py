"""A SLURM of one machine for tests: munged, slurmctld and slurmd of this user, on the loopback, in a folder of their own.

Debian: apt-get install slurm-wlm munge. No system service, no cgroups, no database.
"""
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CONF = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={at}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
SlurmdPort={port1}
SrunPortRange={port2}-{port3}
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.pid
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge=600
JobRequeue=0
KillWait=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


def missing():
    """Why no SLURM can be started here, or None."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=SEARCH) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    if not socket.gethostbyname(socket.gethostname()).startswith("127."):
        return f"the host name {socket.gethostname()} is not an address of the loopback"
    return None


class Slurm:
    """Start it with ``with Slurm(folder) as slurm``; ``slurm.environment`` is what its users need.

    Parameters
    ----------
    at : a new folder, of a short path (sockets)
    cpus : int, declared, may be more than there are
    """
    def __init__(self, at, cpus=4):
        self.at, self.cpus, self.processes = Path(at), cpus, []
        self.environment = {**os.environ, "SLURM_CONF": str(self.at / "slurm.conf"),
                            "PATH": f"{self.at / 'bin'}{os.pathsep}{SEARCH}"}

    def __enter__(self):
        at, node = self.at, socket.gethostname().split(".")[0]
        for name in ("bin", "state", "spool"):
            (at / name).mkdir(parents=True)
        # The SLURM plugin drops all variables of SLURM before it calls srun, that of the configuration too.
        shim = at / "bin" / "srun"
        shim.write_text(f"#!/bin/sh\nSLURM_CONF={at}/slurm.conf exec {shutil.which('srun', path=SEARCH)} \"$@\"\n")
        shim.chmod(0o755)
        key = at / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // (10 << 20)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = min(free.getsockname()[1], 60000)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        (at / "slurm.conf").write_text(CONF.format(at=at, node=node, user=user, cpus=self.cpus, memory=memory, port=port,
                                                   port1=port + 1, port2=port + 100, port3=port + 299))
        # Plain files stand in for GPUs.
        for n in range(2):
            (at / f"gpu{n}").touch()
        (at / "gres.conf").write_text(f"NodeName={node} Name=gpu File={at}/gpu[0-1]\n")
        (at / "cgroup.conf").write_text("CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n")
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={at}/munge.socket",
                        f"--pid-file={at}/munged.pid", f"--log-file={at}/munged.log", f"--seed-file={at}/munge.seed")
            self._wait(lambda: (at / "munge.socket").exists(), "munged")
            self._start("slurmctld", "-D", "-f", at / "slurm.conf")
            self._wait(lambda: self.call("scontrol", "ping", check=False).returncode == 0, "slurmctld")
            self._start("slurmd", "-D", "-f", at / "slurm.conf", "-N", node)
            self._wait(lambda: self.call("sinfo", "-h", "-o", "%T", check=False).stdout.strip() == "idle", "slurmd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason):
        if len(self.processes) > 1:
            self.call("scancel", "--me", check=False)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(self, *command, check=True):
        """Run a command of SLURM."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=check)

    def _start(self, name, *arguments):
        with open(self.at / f"{name}.out", "w") as out:
            self.processes.append(subprocess.Popen([shutil.which(name, path=SEARCH), *map(str, arguments)], env=self.environment,
                                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def _wait(self, ready, name):
        end = time.monotonic() + 60
        while not ready():
            if time.monotonic() > end or self.processes[-1].poll() is not None:
                logs = "".join(path.read_text()[-1000:] for path in self.at.glob(f"{name}.*") if path.suffix in (".log", ".out"))
                raise RuntimeError(f"{name} did not start: {logs}")
            time.sleep(0.2)
