# SPDX-License-Identifier: MIT
"""An emulated machine: what it consists of (Config) and one that runs (Machine).

Config turns a description into QEMU's command line; it is the only place that knows QEMU's options.
Machine starts QEMU, talks to the guest over the first serial port (COM1), and sees to it that
nothing is left behind: each wait has a deadline, each log a bound, and the process is ended by its
own id. When a wait fails, the console and the state of the CPUs are kept in build/artifacts/.
"""

import dataclasses
import fcntl
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time

from lib import cpio

BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
KERNEL = os.environ.get("DAX64_KERNEL", str(BUILD / "dax64.elf"))
ISO = os.environ.get("DAX64_ISO", str(BUILD / "dax64.iso"))
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
OVMF = pathlib.Path("/usr/share/OVMF")

LOG_MAX = 4 << 20  # bytes of console that are kept

# A shell command is typed between these, so that its output and status can be told from the echo of
# what was typed: the echo has quotes in it and does not match.
BEGIN_TYPED, BEGIN = 'echo "<<"begin">>"; ', re.compile(rb"<<begin>>\r?\n")
END_TYPED, END = '; echo "<<"$?">>"', re.compile(rb"<<(\d+)>>\r?\n")
PROMPT = re.compile(rb"[#$] (\x1b\[6n)?$")


class GuestError(Exception):
    """The guest did not do what was waited for."""


@dataclasses.dataclass
class Dimm:
    """One NVDIMM. `path` is its content; None: an empty one that goes with the machine."""

    path: str = None
    size: str = None  # as for QEMU, "64M"; default: the size of the file
    addr: str = None  # where it lies; default: QEMU's choice
    unarmed: bool = False
    label: str = None  # size of the label area, "128K"


@dataclasses.dataclass
class Config:
    boot: str = "pvh"  # pvh: the kernel by -kernel; bios, uefi: the ISO by GRUB
    smp: int = 1
    mem: str = "512M"
    dimms: list = dataclasses.field(default_factory=list)
    persistence: str = None  # nvdimm-persistence: None, "cpu" or "mem-ctrl"
    append: str = ""  # kernel parameters (PVH only: the ISO has its own)
    files: dict = dataclasses.field(default_factory=dict)  # added to the initrd, see cpio.archive
    icount: bool = False  # one instruction = one tick of the clock, exactly repeatable
    accel: str = "tcg"
    kernel: str = None
    initrd: str = None
    iso: str = None
    extra: list = dataclasses.field(default_factory=list)  # further QEMU options

    def arguments(self, scratch):
        """QEMU's command line but for the serial ports. Files of its own go to `scratch`."""
        args = [QEMU, "-machine", self._machine(), "-m", self._memory(), "-smp", str(self.smp)]
        args += ["-cpu", "host" if self.accel == "kvm" else "max"]
        args += ["-accel", self.accel, "-display", "none", "-no-reboot", "-nic", "none"]
        args += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        if self.icount:
            args += ["-icount", "shift=0,sleep=off", "-rtc", "base=2036-01-01,clock=vm"]
        for number, dimm in enumerate(self.dimms):
            args += self._dimm(number, dimm, scratch)
        return args + self._boot(scratch) + self.extra

    def _machine(self):
        options = "q35,nvdimm=on" if self.dimms else "q35"
        if self.persistence and self.dimms:
            options += f",nvdimm-persistence={self.persistence}"
        return options

    def _memory(self):
        return f"{self.mem},slots={max(4, len(self.dimms))},maxmem=64G" if self.dimms else self.mem

    def _dimm(self, number, dimm, scratch):
        path = dimm.path
        if not path:
            path = str(scratch / f"dimm{number}.img")
            size = dimm.size or "64M"
            with open(path, "wb") as file:
                file.truncate(bytes_of(size))
        size = dimm.size or os.path.getsize(path)
        backend = f"memory-backend-file,id=pm{number},mem-path={path},size={size},share=on"
        device = f"nvdimm,memdev=pm{number},id=nv{number}"
        if dimm.unarmed:
            backend += ",readonly=on"
            device += ",unarmed=on"
        if dimm.label:
            device += f",label-size={dimm.label}"
        if dimm.addr:
            device += f",addr={dimm.addr}"
        return ["-object", backend, "-device", device]

    def _boot(self, scratch):
        if self.boot == "pvh":
            return ["-kernel", self.kernel or KERNEL, "-initrd",
                    self._initrd(scratch), "-append", self.append]
        args = ["-cdrom", self.iso or ISO]
        if self.boot == "uefi":
            variables = scratch / "OVMF_VARS.fd"
            shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
            flash = "if=pflash,format=raw"
            args += ["-drive", f"{flash},readonly=on,file={OVMF}/OVMF_CODE_4M.fd",
                     "-drive", f"{flash},file={variables}"]
        return args

    def _initrd(self, scratch):
        initrd = self.initrd or str(BUILD / "initrd.cpio")
        if not self.files:
            return initrd
        combined = scratch / "initrd.cpio"
        cpio.append(combined, initrd, self.files)
        return str(combined)


def bytes_of(size):
    """ "64M" -> 67108864."""
    units = {"K": 10, "M": 20, "G": 30}
    return int(size[:-1]) << units[size[-1]] if size[-1] in units else int(size)


def patience():
    """What deadlines are multiplied with: a machine that is busy with other work takes longer."""
    return max(1, os.getloadavg()[0] / os.cpu_count())


def lock_images(dimms):
    """Two machines on one image would ruin it. The locks last as long as the returned files.

    The files stay open across exec, so that QEMU itself can be given the lock.
    """
    held = []
    for path in sorted({dimm.path for dimm in dimms if dimm.path}):
        file = open(path, "rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise GuestError(f"{path} is in use by another machine") from None
        os.set_inheritable(file.fileno(), True)
        held.append(file)
    return held


class Machine:
    """A running guest; use it as a context manager."""

    def __init__(self, config, name="machine", timeout=60):
        self.config, self.name = config, name
        self.timeout = timeout * patience()
        self.console = b""  # all that came from COM1, up to LOG_MAX
        self.unread = b""  # the part of it that no expect() has consumed
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="dax64-"))
        self.log_path = self.scratch / "com2.log"
        self.process = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, GuestError):
            self._keep_artifacts(error)
        self.close()

    def _start(self):
        self.locks = lock_images(self.config.dimms)
        args = self.config.arguments(self.scratch) + [
            "-serial", "stdio", "-serial", f"file:{self.log_path}",
            "-monitor", f"unix:{self.scratch}/monitor,server=on,wait=off"]
        self.errors = open(self.scratch / "qemu.err", "w+b")
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors)
        os.set_blocking(self.process.stdout.fileno(), False)

    # ---- Talking to the guest -------------------------------------------------------------------

    def send(self, text):
        self.process.stdin.write(text.encode() if isinstance(text, str) else text)
        self.process.stdin.flush()

    def receive(self, deadline):
        """Wait for output: the new bytes, b"" at the end; GuestError past the deadline."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.time()))
        if not ready:
            raise GuestError("timeout")
        data = os.read(self.process.stdout.fileno(), 65536)
        if len(self.console) < LOG_MAX:
            self.console += data
        return data

    def expect(self, pattern, timeout=None):
        """Wait until `pattern` (regular expression) appears; the match. Consumes up to its end."""
        regex = re.compile(pattern.encode()) if isinstance(pattern, str) else pattern
        limit = timeout * patience() if timeout else self.timeout
        deadline = time.time() + limit
        while not (match := regex.search(self.unread)):
            try:
                data = self.receive(deadline)
            except GuestError:
                raise GuestError(f"no {regex.pattern!r} within {limit:.0f} s") from None
            if not data:
                raise GuestError(f"the machine ended before {regex.pattern!r}")
            self.unread = self.unread[-LOG_MAX:] + data
        self.unread = self.unread[match.end():]
        return match

    def prompt(self, timeout=None):
        """Wait for the shell."""
        self.expect(PROMPT, timeout)

    def command(self, text, timeout=None):
        """Run a command in the guest's shell: (status, output)."""
        self.send(BEGIN_TYPED + text + END_TYPED + "\n")
        self.expect(BEGIN, timeout)
        end = self.expect(END, timeout)
        output = end.string[:end.start()].replace(b"\r\n", b"\n").decode("latin-1")
        self.prompt(timeout)
        return int(end.group(1)), output

    def copy_output(self, sink, timeout=None):
        """Hand on all output as it comes, until the machine ends."""
        deadline = time.time() + (timeout or self.timeout)
        while data := self.receive(deadline):
            sink(data)

    def wait(self, timeout=None):
        """Wait until QEMU ends; its exit status."""
        self.copy_output(lambda data: None, timeout)
        try:
            return self.process.wait(timeout or self.timeout)
        except subprocess.TimeoutExpired:
            raise GuestError("QEMU does not end") from None

    def kill(self):
        """SIGKILL, as a power failure that keeps all stores."""
        self.process.kill()
        self.process.wait()

    # ---- The kernel log on the second port, and the end -----------------------------------------

    def log(self):
        """What came from COM2 (the kernel's log, with console=ttyS1)."""
        try:
            with open(self.log_path, "rb") as file:
                return file.read(LOG_MAX).decode("latin-1")
        except FileNotFoundError:
            return ""

    def qemu_errors(self):
        self.errors.seek(0)
        return self.errors.read(LOG_MAX).decode("latin-1")

    def monitor(self, command):
        """Answer of QEMU's monitor, or "" if it gives none."""
        prompt = b"(qemu) "
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(2)
                link.connect(str(self.scratch / "monitor"))
                answer = b""
                for text in (b"", command.encode() + b"\n"):
                    link.sendall(text)
                    answer = b""
                    while not answer.endswith(prompt):
                        if not (data := link.recv(1 << 16)):
                            return ""
                        answer += data
                _, _, text = answer[:-len(prompt)].decode("latin-1").partition("\n")
                return text
        except OSError:
            return ""

    def _keep_artifacts(self, error):
        """Leave what is needed to see why a wait failed; the tail of the console goes into `error`.

        An NMI makes the kernel say what each CPU is doing.
        """
        folder = BUILD / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        registers = self.monitor("info registers -a")
        self.monitor("nmi")
        try:
            while self.receive(time.time() + 1):
                pass
        except GuestError:
            pass
        with open(folder / f"{self.name}.log", "w", encoding="utf-8") as file:
            for title, text in (("command", " ".join(map(str, self.process.args))),
                                ("COM1", self.console.decode("latin-1")), ("COM2", self.log()),
                                ("qemu", self.qemu_errors()), ("CPUs", registers)):
                file.write(f"---- {title}\n{text}\n")
        tail = (self.console.decode("latin-1") + self.log() + self.qemu_errors()).splitlines()[-25:]
        where = f"see {folder}/{self.name}.log; it ends with:"
        error.args = ("\n".join([str(error), where] + tail),)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)
