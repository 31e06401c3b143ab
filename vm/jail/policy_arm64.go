package jail

// auditArch is AUDIT_ARCH_AARCH64 (linux/audit.h). There is no second ABI with the same number.
const (
	auditArch = 0xc00000b7
	x32Bit    = 0
)

// numbers are those of asm-generic/unistd.h.
var numbers = map[string]uint32{
	"epoll_pwait": 22, "read": 63, "write": 64, "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113, "sched_yield": 124, "restart_syscall": 128,
	"tgkill": 131, "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172, "sigaltstack": 132, "rt_sigprocmask": 135, "gettid": 178, "munmap": 215, "mmap": 222, "mprotect": 226, "madvise": 233,
}
