//! runtime-epoll
