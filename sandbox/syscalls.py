"""System call numbers of the two supported machines. A call that one lacks was replaced there by a newer one."""

from __future__ import annotations


def _table(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (entry.split("=") for entry in text.split())}


X86_64 = _table("""
    read=0  write=1  open=2  close=3  stat=4  fstat=5  lstat=6  poll=7  lseek=8  mmap=9  mprotect=10  munmap=11
    brk=12  rt_sigaction=13  rt_sigprocmask=14  rt_sigreturn=15  ioctl=16  pread64=17  pwrite64=18  readv=19
    writev=20  access=21  select=23  sched_yield=24  mremap=25  madvise=28  dup=32  dup2=33  pause=34  nanosleep=35
    getitimer=36  alarm=37  setitimer=38  getpid=39  sendto=44  recvfrom=45  sendmsg=46  recvmsg=47  clone=56
    fork=57  exit=60  wait4=61  kill=62  uname=63  fcntl=72  getcwd=79  readlink=89  gettimeofday=96  getrlimit=97
    getrusage=98  sysinfo=99  times=100  getuid=102  getgid=104  geteuid=107  getegid=108  getppid=110  getpgrp=111
    getresuid=118  getresgid=120  getpgid=121  getsid=124  rt_sigpending=127  sigaltstack=131  prctl=157
    setrlimit=160  gettid=186  time=201  futex=202  sched_getaffinity=204  getdents64=217  restart_syscall=219
    clock_gettime=228  clock_getres=229  clock_nanosleep=230  exit_group=231  waitid=247  openat=257  newfstatat=262
    readlinkat=267  faccessat=269  pselect6=270  ppoll=271  set_robust_list=273  dup3=292  preadv=295  pwritev=296
    prlimit64=302  seccomp=317  getrandom=318  statx=332  rseq=334  pidfd_send_signal=424  pidfd_open=434
    clone3=435  close_range=436  faccessat2=439
""")

AARCH64 = _table("""
    getcwd=17  dup=23  dup3=24  fcntl=25  ioctl=29  faccessat=48  openat=56  close=57  getdents64=61  lseek=62
    read=63  write=64  readv=65  writev=66  pread64=67  pwrite64=68  preadv=69  pwritev=70  pselect6=72  ppoll=73
    readlinkat=78  newfstatat=79  fstat=80  exit=93  exit_group=94  waitid=95  futex=98  set_robust_list=99
    nanosleep=101  getitimer=102  setitimer=103  clock_gettime=113  clock_getres=114  clock_nanosleep=115
    sched_getaffinity=123  sched_yield=124  restart_syscall=128  kill=129  sigaltstack=132  rt_sigaction=134
    rt_sigprocmask=135  rt_sigpending=136  rt_sigreturn=139  getresuid=148  getresgid=150  times=153  getpgid=155
    getsid=156  uname=160  getrlimit=163  setrlimit=164  getrusage=165  prctl=167  gettimeofday=169  getpid=172
    getppid=173  getuid=174  geteuid=175  getgid=176  getegid=177  gettid=178  sysinfo=179  sendto=206  recvfrom=207
    sendmsg=211  recvmsg=212  brk=214  munmap=215  mremap=216  clone=220  mmap=222  mprotect=226  madvise=233
    wait4=260  prlimit64=261  seccomp=277  getrandom=278  statx=291  rseq=293  pidfd_send_signal=424  pidfd_open=434
    clone3=435  close_range=436  faccessat2=439
""")
