/* The client of the hop bench: keep-alive connections, one request each at a time, on one core.
 *
 *   load PORT FILE CONNECTIONS SECONDS RATE GRACE_SECONDS
 *
 * FILE holds whole requests (a native 32-bit length before each), sent in turn; every "@@@@@@@@@@@@@@@@"
 * in them becomes 16 digits that no other request has, and the answer must repeat them.
 * RATE 0: closed loop, the next request follows the answer.  Else open loop, requests per second:
 * latency counts from when a request was due, not from when a connection was free for it.
 * After SECONDS nothing new is sent, and what is under way has GRACE_SECONDS.
 * Prints one line of JSON.  "wrong": an answer that was not 200, or not the request's own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READ = 1 << 16, KEPT = 8192, MARK = 16, MOST_MARKS = 4 };

struct request { char *bytes; uint32_t size; int marks; uint32_t at[MOST_MARKS]; };

struct connection {
  int fd;
  int busy, in_body, chunked, skip_line, ended, closing, after_newline;
  int64_t due;
  uint64_t left;     /* of the body, or of the chunk */
  size_t kept;       /* bytes in keep: first the head, then the body's beginning */
  char ticket[MARK];
  char size_line[24];
  int size_used;
  char *rest; size_t rest_size; /* of a request that did not fit the socket at once */
  char keep[KEPT];
};

static struct request *requests;
static int request_count, port, poller;
static uint64_t serial;
static uint32_t *latency;
static size_t latencies, latency_room;
static uint64_t sent, answered, wrong, failed, reconnected, events, reads;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void complain(const char *what, struct connection *c) {
  static int said;
  if (said++ < 3) fprintf(stderr, "%s: %.*s\n", what, (int)(c->kept < 600 ? c->kept : 600), c->keep);
}

static void load_requests(const char *path) {
  FILE *file = fopen(path, "rb");
  uint32_t size;
  if (!file) die(path);
  while (fread(&size, 4, 1, file) == 1) {
    requests = realloc(requests, (request_count + 1) * sizeof *requests);
    struct request *request = &requests[request_count++];
    *request = (struct request){malloc(size), size, 0, {0}};
    if (fread(request->bytes, 1, size, file) != size) die("short file");
    char *at = request->bytes, *end = at + size;
    while (request->marks < MOST_MARKS && (at = memmem(at, end - at, "@@@@@@@@@@@@@@@@", MARK))) {
      request->at[request->marks++] = at - request->bytes;
      at += MARK;
    }
  }
  fclose(file);
  if (!request_count) { fprintf(stderr, "no request in %s\n", path); exit(1); }
}

static void dial(struct connection *c) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {EPOLLIN, {.ptr = c}};
  epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void redial(struct connection *c) {
  close(c->fd);
  free(c->rest);
  c->rest = NULL;
  c->busy = 0;
  reconnected++;
  dial(c);
}

static void flush_rest(struct connection *c) {
  ssize_t put = send(c->fd, c->rest, c->rest_size, MSG_NOSIGNAL);
  if (put > 0) memmove(c->rest, c->rest + put, c->rest_size -= put);
  if (c->rest_size && (put >= 0 || errno == EAGAIN)) return;
  free(c->rest);
  c->rest = NULL;
  struct epoll_event event = {EPOLLIN, {.ptr = c}};
  epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void ask(struct connection *c, int64_t due) {
  static const char digits[] = "0123456789abcdef";
  struct request *request = &requests[sent++ % request_count];
  /* An odd factor: no two in 2^64 are equal, and neighbours do not look alike. */
  uint64_t id = ++serial * 0x9e3779b97f4a7c15ULL;
  for (int place = MARK - 1; place >= 0; place--, id >>= 4) c->ticket[place] = digits[id & 15];
  for (int mark = 0; mark < request->marks; mark++)
    memcpy(request->bytes + request->at[mark], c->ticket, MARK);
  c->busy = 1;
  c->in_body = c->chunked = c->skip_line = c->ended = c->closing = c->after_newline = 0;
  c->size_used = 0;
  c->kept = 0;
  c->due = due;
  ssize_t put = send(c->fd, request->bytes, request->size, MSG_NOSIGNAL);
  if (put < 0) put = 0; /* a closed connection shows when it is read */
  if ((uint32_t)put < request->size) {
    c->rest_size = request->size - put;
    c->rest = malloc(c->rest_size);
    memcpy(c->rest, request->bytes + put, c->rest_size);
    struct epoll_event event = {EPOLLIN | EPOLLOUT, {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
  }
}

static void keep(struct connection *c, const char *data, size_t size) {
  if (size > KEPT - c->kept) size = KEPT - c->kept;
  memcpy(c->keep + c->kept, data, size);
  c->kept += size;
}

static void body(struct connection *c, const char *data, size_t size) {
  keep(c, data, size);
  for (const char *end = data + size, *line; data < end; data = line + 1) {
    line = memchr(data, '\n', end - data);
    if (!line) { c->after_newline = 0; return; }
    if (line == data && c->after_newline) events++; /* an empty line ends an event */
    c->after_newline = line != data || !c->after_newline;
  }
}

/* What of data belongs to the body; sets ended. */
static void take(struct connection *c, const char *data, size_t size) {
  while (size && !c->ended) {
    if (c->chunked && !c->left) { /* a size line, the line end after a chunk, or a trailer */
      char byte = *data++;
      size--;
      if (byte != '\n') {
        if (byte != '\r' && c->size_used < 20) c->size_line[c->size_used++] = byte;
        continue;
      }
      c->size_line[c->size_used] = 0;
      if (c->skip_line == 2) c->ended = !c->size_used;
      else if (c->skip_line == 1) c->skip_line = 0;
      else {
        c->left = strtoul(c->size_line, NULL, 16);
        c->skip_line = c->left ? 1 : 2;
      }
      c->size_used = 0;
      continue;
    }
    size_t part = size < c->left ? size : c->left;
    body(c, data, part);
    c->left -= part;
    data += part;
    size -= part;
    if (!c->left && !c->chunked) c->ended = 1;
  }
}

/* The head, when it is whole; what follows it goes on to take(). */
static void take_head(struct connection *c, const char *data, size_t size) {
  size_t before = c->kept;
  keep(c, data, size);
  char *end = memmem(c->keep, c->kept, "\r\n\r\n", 4);
  if (!end) return;
  size_t used = end + 4 - c->keep - before;
  *end = 0;
  char *length = strcasestr(c->keep, "\r\ncontent-length:");
  char *coding = strcasestr(c->keep, "\r\ntransfer-encoding:");
  c->closing = strcasestr(c->keep, "\r\nconnection: close") != NULL;
  if (strncmp(c->keep + 8, " 200", 4)) { wrong++; complain("not 200", c); }
  c->in_body = 1;
  c->chunked = coding != NULL;
  c->left = coding || !length ? 0 : strtoul(length + 17, NULL, 10);
  if (!coding && !c->left) c->ended = 1;
  c->kept = 0;
  take(c, data + used, size - used);
}

static void done(struct connection *c, int64_t now) {
  if (!memmem(c->keep, c->kept, c->ticket, MARK)) { wrong++; complain("not its own answer", c); }
  if (latencies == latency_room)
    latency = realloc(latency, (latency_room = latency_room ? 2 * latency_room : 65536) * 4);
  latency[latencies++] = (now - c->due) / 100;
  answered++;
  c->busy = 0;
  if (c->closing) redial(c);
}

static int by_size(const void *one, const void *other) {
  uint32_t left = *(const uint32_t *)one, right = *(const uint32_t *)other;
  return (left > right) - (left < right);
}

static double quantile(double share) {
  return latencies ? latency[(size_t)(share * (latencies - 1))] / 10.0 : 0;
}

int main(int count, char **words) {
  if (count != 7)
    return fprintf(stderr, "usage: load PORT FILE CONNECTIONS SECONDS RATE GRACE_SECONDS\n"), 2;
  port = atoi(words[1]);
  load_requests(words[2]);
  int connections = atoi(words[3]);
  double seconds = atof(words[4]), rate = atof(words[5]), grace = atof(words[6]);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  serial = (uint64_t)wall.tv_sec << 32 | (uint64_t)wall.tv_nsec;
  poller = epoll_create1(0);
  struct connection *all = calloc(connections, sizeof *all);
  for (int place = 0; place < connections; place++) dial(&all[place]);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event timed = {EPOLLIN, {.ptr = NULL}}, ready[256];
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &timed);

  int64_t start = now_ns(), stop = start + seconds * 1e9, late = stop + grace * 1e9, now = start;
  int64_t gap = rate ? 1e9 / rate : 0, next = start, finished = start;
  int busy = 0;
  if (!rate) for (int place = 0; place < connections; place++, busy++) ask(&all[place], now);
  static char data[READ];
  while ((busy || now < stop) && now < late) {
    if (rate) { /* what is due goes to a free connection, or waits for one */
      for (int place = 0; place < connections && next <= now && next < stop; place++)
        if (!all[place].busy) { ask(&all[place], next); busy++; next += gap; }
      int64_t at = next > now ? next : now + 1000000;
      struct itimerspec when = {{0, 0}, {at / 1000000000, at % 1000000000}};
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
    }
    int found = epoll_wait(poller, ready, 256, 100);
    now = now_ns();
    for (int place = 0; place < found; place++) {
      struct connection *c = ready[place].data.ptr;
      if (!c) continue;
      if (ready[place].events & EPOLLOUT && c->rest) flush_rest(c);
      if (!(ready[place].events & ~EPOLLOUT)) continue;
      ssize_t got = recv(c->fd, data, READ, 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      now = now_ns();
      if (got <= 0) {
        if (c->busy) { failed++; busy--; complain("closed", c); }
        redial(c);
      } else if (!c->busy) {
        wrong++;
        continue;
      } else {
        reads++;
        if (c->in_body) take(c, data, got); else take_head(c, data, got);
        if (!c->ended) continue;
        done(c, now);
        busy--;
        finished = now;
      }
      if (!rate && now < stop) { ask(c, now); busy++; }
    }
  }
  qsort(latency, latencies, 4, by_size);
  printf("{\"requests\": %lu, \"seconds\": %.6f, \"wrong\": %lu, \"failed\": %lu, "
         "\"unanswered\": %d, \"reconnected\": %lu, \"events\": %lu, \"reads\": %lu, "
         "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
         answered, (finished - start) / 1e9, wrong, failed, busy, reconnected, events, reads,
         quantile(0.5), quantile(0.99), quantile(0.999), quantile(1));
  return 0;
}
