#include "net/uptake.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

uint32_t uptake_held(int fd)
{
	int held = 0;
	return ioctl(fd, SIOCOUTQ, &held) == 0 && held > 0 ? (uint32_t)held : 0;
}

uint64_t uptake_count(int fd, uint64_t waiting)
{
	struct tcp_info info = {.tcpi_bytes_acked = 0};
	socklen_t len = sizeof info;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
		return info.tcpi_bytes_acked + 1;
	return (UINT64_C(1) << 62) - waiting - uptake_held(fd);
}
