"""ipcx: every way two processes can talk."""
