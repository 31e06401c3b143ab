package jail

// auditArch is AUDIT_ARCH_X86_64 (linux/audit.h); calls with x32Bit are those of the x32 ABI.
const (
	auditArch = 0xc000003e
	x32Bit    = 0x40000000
)

// numbers are those of asm/unistd_64.h.
var numbers = map[string]uint32{
	"read": 0, "write": 1, "mmap": 9, "mprotect": 10, "munmap": 11, "rt_sigreturn": 15, "sched_yield": 24, "madvise": 28, "nanosleep": 35, "getpid": 39,
	"rt_sigprocmask": 14, "gettimeofday": 96, "sigaltstack": 131, "gettid": 186, "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231, "tgkill": 234, "epoll_pwait": 281,
}
