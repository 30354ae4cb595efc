package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// Attaching a mount to its mountpoint is done here rather than in go-fuse, which
// takes the descriptor: so that each failure says what to do, and so that
// unmounting never waits for a program that holds a file open.

const fuseDevice = "/dev/fuse"

// attach mounts and gives the descriptor that requests come from.
func attach(mountpoint string, opts *Options) (int, error) {
	if os.Geteuid() == 0 {
		return attachDirectly(mountpoint, opts)
	}
	return attachByHelper(mountpoint, opts)
}

// attachDirectly calls mount(2), which needs root and no package of the system's.
func attachDirectly(mountpoint string, opts *Options) (int, error) {
	fd, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w: load the module (modprobe fuse), or give the container this device", fuseDevice, err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions,allow_other",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxWrite)
	err = unix.Mount(opts.FSName, mountpoint, "fuse."+opts.Subtype, opts.flags(), data)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount %s: %w: a container needs the capability SYS_ADMIN for it", mountpoint, err)
	}
	return fd, nil
}

// flags are those of mount(2).
func (o *Options) flags() uintptr {
	flags := uintptr(0)
	for _, f := range []struct {
		set  bool
		flag uintptr
	}{
		{o.ReadOnly, unix.MS_RDONLY}, {o.NoExec, unix.MS_NOEXEC}, {o.NoSuid, unix.MS_NOSUID}, {o.NoDev, unix.MS_NODEV},
		{o.NoAtime, unix.MS_NOATIME}, {o.StrictAtime, unix.MS_STRICTATIME}, {!o.NoAtime && !o.StrictAtime, unix.MS_RELATIME},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

// attachByHelper has fusermount3, which is set-user-id, mount for us. It sends
// the descriptor over a socket.
func attachByHelper(mountpoint string, opts *Options) (int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	defer theirs.Close()
	cmd, err := helper("-o", opts.helperOptions(), "--", mountpoint)
	if err != nil {
		return -1, err
	}
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := runHelper(cmd); err != nil {
		return -1, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	return receiveDescriptor(pair[0])
}

func (o *Options) helperOptions() string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace
	options := []string{
		"fsname=" + escape(o.FSName), "subtype=" + escape(o.Subtype),
		fmt.Sprintf("max_read=%d", maxWrite), "default_permissions",
	}
	for _, w := range []struct {
		set  bool
		word string
	}{
		{o.AllowOther, "allow_other"}, {o.ReadOnly, "ro"}, {o.NoAtime, "noatime"}, {o.StrictAtime, "strictatime"}, {o.NoExec, "noexec"},
	} {
		if w.set {
			options = append(options, w.word)
		}
	}
	return strings.Join(options, ",")
}

// helper is a call of fusermount3.
func helper(args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		return nil, errors.New("fusermount3 is not installed: install the package fuse3 (apt-get install fuse3), or mount as root")
	}
	return exec.Command(path, args...), nil
}

// runHelper makes what fusermount3 complains about the error.
func runHelper(cmd *exec.Cmd) error {
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	err := cmd.Run()
	if text := strings.TrimSpace(complaint.String()); err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

// receiveDescriptor takes one descriptor from a socket.
func receiveDescriptor(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receive a descriptor from fusermount3: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, proto.E(proto.Malformed, "receive a descriptor from fusermount3", "", "it sent something else")
}

// unmount takes a mount away; Busy if it is in use.
func unmount(mountpoint string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(mountpoint, unix.UMOUNT_NOFOLLOW)
	}
	cmd, err := helper("-u", "--", mountpoint)
	if err != nil {
		return err
	}
	if err := runHelper(cmd); err != nil {
		return fmt.Errorf("%w: %w", proto.Busy, err)
	}
	return nil
}

// detach takes a mount out of the tree of files though it is in use, or dead.
func detach(mountpoint string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(mountpoint, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	cmd, err := helper("-u", "-z", "--", mountpoint)
	if err != nil {
		return err
	}
	return runHelper(cmd)
}
