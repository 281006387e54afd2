/* The engine behind every proxy of the hop bench: answers like vLLM's server, at once, on one core.
 *
 *   engine PORT TICK_MICROSECONDS
 *
 * Reads of a POST: its ticket (16 digits after "Ticket "), which the answer repeats, "max_tokens"
 * and "stream".  Not streamed: that many characters of text, in one JSON body.  Streamed: that many
 * events, one per tick to each stream, each in a write of its own, as an engine step makes them.
 * max_tokens 0: never answered (for memory per request in flight).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
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

enum { BUFFER = 1 << 17, MOST = 8192, TICKET = 16 };

struct connection {
  int fd;
  int left;   /* events of the stream under way, the last one included */
  int active; /* place in streams, plus one */
  size_t used;
  char ticket[TICKET];
  char *buffer;
};

static struct connection *streams[MOST];
static int stream_count, poller, timer;
static long tick_us;
static char date[64];
static time_t dated;

static const char *now_date(void) {
  time_t now = time(NULL);
  if (now != dated) {
    struct tm parts;
    dated = now;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
  }
  return date;
}

static void set_timer(long microseconds) {
  struct itimerspec when = {{microseconds / 1000000, microseconds % 1000000 * 1000},
                            {microseconds / 1000000, microseconds % 1000000 * 1000}};
  timerfd_settime(timer, 0, &when, NULL);
}

static void stop_stream(struct connection *connection) {
  int place = connection->active - 1;
  if (place < 0) return;
  streams[place] = streams[--stream_count];
  streams[place]->active = place + 1;
  connection->active = 0;
  if (!stream_count) set_timer(0);
}

static void hang_up(struct connection *connection) {
  stop_stream(connection);
  close(connection->fd);
  free(connection->buffer);
  free(connection);
}

/* Answers fit the socket's buffer; a reader that is slower than that is hung up on. */
static int put(struct connection *connection, const char *data, size_t size) {
  return send(connection->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static int answer(struct connection *connection, int characters) {
  static char text[BUFFER], out[BUFFER + 1024];
  static int filled;
  if (!filled) {
    static const char words[] = "the answer of the engine goes on for as long as was asked, ";
    for (; filled < (int)sizeof text; filled++) text[filled] = words[filled % (sizeof words - 1)];
  }
  if (characters > 60000) characters = 60000;
  char body[512];
  int front = snprintf(body, sizeof body,
      "{\"id\":\"chatcmpl-%.16s\",\"object\":\"chat.completion\",\"created\":1763780000,"
      "\"model\":\"model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
      "\"content\":\"Ticket %.16s: ", connection->ticket, connection->ticket);
  static const char back[] =
      "\",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,"
      "\"tool_calls\":[],\"reasoning\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
      "\"stop_reason\":null,\"token_ids\":null}],\"service_tier\":null,\"system_fingerprint\":null,"
      "\"usage\":{\"prompt_tokens\":212,\"total_tokens\":276,\"completion_tokens\":64,"
      "\"prompt_tokens_details\":null},\"prompt_logprobs\":null,\"kv_transfer_params\":null}";
  int length = front + characters + (int)sizeof back - 1;
  int size = snprintf(out, 512,
      "HTTP/1.1 200 OK\r\ndate: %s\r\nserver: uvicorn\r\ncontent-length: %d\r\n"
      "content-type: application/json\r\n\r\n", now_date(), length);
  memcpy(out + size, body, front);
  memcpy(out + size + front, text, characters);
  memcpy(out + size + front + characters, back, sizeof back - 1);
  return put(connection, out, size + length);
}

static int begin_stream(struct connection *connection, int events) {
  char head[256];
  int size = snprintf(head, sizeof head,
      "HTTP/1.1 200 OK\r\ndate: %s\r\nserver: uvicorn\r\n"
      "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
      now_date());
  if (stream_count == MOST) return 0;
  connection->left = events;
  streams[stream_count++] = connection;
  connection->active = stream_count;
  if (stream_count == 1) set_timer(tick_us);
  return put(connection, head, size);
}

static int step(struct connection *connection) {
  char event[512], chunk[640];
  int size = --connection->left
      ? snprintf(event, sizeof event,
            "data: {\"id\":\"chatcmpl-%.16s\",\"object\":\"chat.completion.chunk\","
            "\"created\":1763780000,\"model\":\"model\",\"choices\":[{\"index\":0,\"delta\":"
            "{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null,"
            "\"token_ids\":null}]}\n\n", connection->ticket)
      : snprintf(event, sizeof event, "data: [DONE]\n\n");
  int whole = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n%s", size, event,
                       connection->left ? "" : "0\r\n\r\n");
  if (!connection->left) stop_stream(connection);
  return put(connection, chunk, whole);
}

static void tick(void) {
  unsigned long long passed;
  if (read(timer, &passed, sizeof passed) < 0) return;
  for (int place = stream_count - 1; place >= 0; place--) {
    struct connection *connection = streams[place];
    if (!step(connection)) hang_up(connection);
  }
}

static int get(struct connection *connection, const char *head) {
  static const char models[] =
      "{\"object\":\"list\",\"data\":[{\"id\":\"model\",\"object\":\"model\","
      "\"created\":1763780000,\"owned_by\":\"vllm\",\"max_model_len\":32768}]}";
  char out[512];
  const char *body = strncmp(head, "GET /v1/models", 14) ? "" : models;
  int size = snprintf(out, sizeof out,
      "HTTP/1.1 200 OK\r\ndate: %s\r\nserver: uvicorn\r\ncontent-length: %zu\r\n"
      "content-type: %s\r\n\r\n%s", now_date(), strlen(body),
      *body ? "application/json" : "text/plain; version=0.0.4", body);
  return put(connection, out, size);
}

static int post(struct connection *connection, const char *body, size_t length) {
  const char *ticket = memmem(body, length, "Ticket ", 7);
  const char *tokens = memmem(body, length, "\"max_tokens\"", 12);
  const char *stream = memmem(body, length, "\"stream\"", 8);
  int count = tokens ? atoi(tokens + 12 + strspn(tokens + 12, ": ")) : 64;
  if (ticket) memcpy(connection->ticket, ticket + 7, TICKET);
  if (tokens && !count) return 1;
  if (stream && stream[8 + strspn(stream + 8, ": ")] == 't') return begin_stream(connection, count);
  return answer(connection, count);
}

/* Serve every whole request that the buffer holds; 0: hang up. */
static int serve(struct connection *connection) {
  char *at = connection->buffer, *end = at + connection->used;
  while (at < end) {
    char *body = memmem(at, end - at, "\r\n\r\n", 4);
    size_t length = 0;
    if (!body) break;
    *body = 0; /* ends strcasestr's search */
    char *header = strcasestr(at, "\r\ncontent-length:");
    if (header) length = strtoul(header + 17, NULL, 10);
    else if (strcasestr(at, "\r\ntransfer-encoding:")) {
      static const char refused[] = "HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\n\r\n";
      put(connection, refused, sizeof refused - 1);
      return 0;
    }
    *body = '\r';
    body += 4;
    if ((size_t)(end - body) < length) break;
    if (!(at[0] == 'P' ? post(connection, body, length) : get(connection, at))) return 0;
    at = body + length;
  }
  connection->used = end - at;
  memmove(connection->buffer, at, connection->used);
  return connection->used < BUFFER;
}

static void welcome(int listener) {
  int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct connection *connection = calloc(1, sizeof *connection);
  connection->fd = fd;
  connection->buffer = malloc(BUFFER);
  memset(connection->ticket, '0', TICKET);
  struct epoll_event event = {EPOLLIN, {.ptr = connection}};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **words) {
  if (count != 3) return fprintf(stderr, "usage: engine PORT TICK_MICROSECONDS\n"), 2;
  tick_us = atol(words[2]);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024))
    return perror("engine"), 1;
  poller = epoll_create1(0);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {EPOLLIN, {.ptr = &listener}}, ready[256];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  event.data.ptr = &timer;
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
  for (;;) {
    int found = epoll_wait(poller, ready, 256, -1), ticked = 0;
    for (int place = 0; place < found; place++) {
      struct connection *connection = ready[place].data.ptr;
      if ((void *)connection == &listener) { welcome(listener); continue; }
      if ((void *)connection == &timer) { ticked = 1; continue; }
      ssize_t got = recv(connection->fd, connection->buffer + connection->used,
                         BUFFER - connection->used, 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got > 0) connection->used += got;
      if (got <= 0 || !serve(connection)) hang_up(connection);
    }
    if (ticked) tick(); /* last: it may hang up on what this turn was still to serve */
  }
}
