#include "ops/replay.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "common/buffer.h"
#include "common/dump.h"
#include "hub/delivery.h"

#define REPLAY_ID_MAX 96
#define REPLAY_STEP 64 /* given back with one sync of the disk */
/* or so many bytes of messages; one is always let through */
#define REPLAY_STEP_BYTES (16u << 20)
#define REPLAY_LOOKS 10000 /* for connections, in one turn of the loop */

/* A letter that was not given back. */
struct letter {
	long at; /* in the file */
	bool replayed;
	char id[REPLAY_ID_MAX], conn[SESSION_ID_TEXT];
	/* Once it is about to be given back. */
	uint8_t *message; /* NULL: it is none */
	size_t len;
	bool binary, lost; /* lost: it was written down as given back, and could not be */
	bool left;	   /* counted as such: a step may be shorter than was thought */
};

struct replay_job {
	uint16_t magic; /* CHECK_REPLAY_JOB */
	STAILQ_ENTRY(replay_job) next;
	struct replay *letters;
	bool list;
	char only[REPLAY_ID_MAX]; /* empty: all */
	char *mount;		  /* NULL: all */
	replay_answer *answer;
	void *ctx;
	struct letter *v; /* in the order of the file */
	size_t n, cap;
	size_t at;			  /* those before it are done with */
	struct letter *step[REPLAY_STEP]; /* that are being given back */
	unsigned n_step;
	uint64_t replayed, left, left_out;
	/* the file that `at` of its letters is a place in, whatever becomes of its name meanwhile
	 */
	FILE *file;
	struct buffer text; /* of a list */
	int error;
};

struct replay {
	struct hub *hub;
	struct deadletter *file;
	STAILQ_HEAD(, replay_job) jobs; /* the first is being worked on */
};

static void replay_job_free(struct replay_job *job)
{
	for (size_t i = 0; i < job->n; i++)
		free(job->v[i].message);
	if (job->file != NULL)
		fclose(job->file);
	free(job->v);
	buffer_free(&job->text);
	free(job->mount);
	free(job);
}

/* --- reading: on the thread of the file ------------------------------------------------------- */

static void replay_letter_id(const json_t *letter, size_t line, char id[REPLAY_ID_MAX])
{
	const char *own = json_string_value(json_object_get(letter, "id"));
	const char *conn = json_string_value(json_object_get(letter, "conn"));
	long long seq = (long long)json_integer_value(json_object_get(letter, "seq"));
	if (own != NULL)
		snprintf(id, REPLAY_ID_MAX, "%s", own);
	else if (conn != NULL)
		snprintf(id, REPLAY_ID_MAX, "%.64s:%lld", conn, seq);
	else /* of a version that gave those without a connection no name */
		snprintf(id, REPLAY_ID_MAX, "-:%lld#%zu", seq, line);
}

static struct letter *replay_add(struct replay_job *job)
{
	if (job->n == job->cap) {
		size_t cap = job->cap == 0 ? 64 : 2 * job->cap;
		struct letter *wider = realloc(job->v, cap * sizeof *wider);
		if (wider == NULL)
			return NULL;
		job->v = wider;
		job->cap = cap;
	}
	job->v[job->n] = (struct letter){.at = 0};
	return &job->v[job->n++];
}

/* One line: a letter, or what became of one. places: which letter has which id. */
static bool replay_read_line(struct replay_job *job, json_t *places, const json_t *line,
			     size_t number, long at)
{
	char id[REPLAY_ID_MAX];
	const char *done = json_string_value(json_object_get(line, "replayed"));
	const char *left = json_string_value(json_object_get(line, "left"));
	const char *name = done != NULL ? done : left,
		   *conn = json_string_value(json_object_get(line, "conn"));
	if (name == NULL)
		replay_letter_id(line, number, id);
	const json_t *place = json_object_get(places, name != NULL ? name : id);
	struct letter *letter = place != NULL ? &job->v[json_integer_value(place)] : NULL;
	if (name != NULL) {
		if (letter != NULL)
			letter->replayed = done != NULL;
		return true;
	}
	const char *mount = json_string_value(json_object_get(line, "mount"));
	if ((job->only[0] != '\0' && strcmp(job->only, id) != 0) ||
	    (job->mount != NULL && (mount == NULL || strcmp(job->mount, mount) != 0)))
		return true;
	if (letter == NULL) {
		letter = replay_add(job);
		if (letter == NULL ||
		    json_object_set_new(places, id, json_integer((json_int_t)job->n - 1)) != 0)
			return false;
	}
	letter->at = at;
	letter->replayed = false;
	snprintf(letter->id, sizeof letter->id, "%s", id);
	snprintf(letter->conn, sizeof letter->conn, "%s", conn != NULL ? conn : "");
	return true;
}

/* Finds out what was not given back. Returns an errno. */
static int replay_scan(struct replay_job *job, FILE *f)
{
	json_t *places = json_object();
	char *line = NULL;
	size_t cap = 0, number = 0, kept = 0;
	bool ok = places != NULL;
	for (long at = 0; ok && !deadletter_is_closing(job->letters->file); at = ftell(f)) {
		if (getline(&line, &cap, f) <= 0)
			break;
		/* a message may contain one */
		json_t *value = json_loads(line, JSON_ALLOW_NUL, NULL);
		ok = !json_is_object(value) || replay_read_line(job, places, value, ++number, at);
		json_decref(value);
	}
	free(line);
	json_decref(places);
	for (size_t i = 0; i < job->n; i++)
		if (!job->v[i].replayed)
			job->v[kept++] = job->v[i];
	job->n = kept;
	return ok ? 0 : ENOMEM;
}

static json_t *replay_letter_read(const struct letter *letter, FILE *f, char **line, size_t *cap)
{
	if (fseek(f, letter->at, SEEK_SET) != 0 || getline(line, cap, f) <= 0)
		return NULL;
	return json_loads(*line, JSON_ALLOW_NUL, NULL);
}

static bool replay_append_text(struct replay_job *job, const char *text)
{
	buffer_add(&job->text, ",", 1);
	buffer_add_text(&job->text, text);
	return !job->text.failed;
}

/* The letters as they are in the file, each with its id. */
static int replay_collect(struct replay_job *job, FILE *f)
{
	char *line = NULL;
	size_t cap = 0;
	bool ok = true;
	for (size_t i = 0; ok && i < job->n && !deadletter_is_closing(job->letters->file); i++) {
		json_t *value = job->text.n < REPLAY_LIST_MAX
					? replay_letter_read(&job->v[i], f, &line, &cap)
					: NULL;
		json_object_set_new(value, "id", json_string(job->v[i].id));
		char *text = dump_text(value, JSON_COMPACT);
		job->left_out += text == NULL;
		ok = text == NULL || replay_append_text(job, text);
		free(text);
		json_decref(value);
	}
	free(line);
	return ok ? 0 : ENOMEM;
}

static char *replay_on_scan(void *ctx, int *fd_r, int *error_r)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	int fd = deadletter_open_file(job->letters->file);
	(void)fd_r;
	job->file = fd >= 0 ? fdopen(fd, "r+") : NULL;
	if (job->file == NULL) {
		*error_r = errno;
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	*error_r = replay_scan(job, job->file);
	if (*error_r == 0 && job->list)
		*error_r = replay_collect(job, job->file);
	return NULL;
}

/* The message of a letter in memory of its own; NULL: it is none. */
static uint8_t *replay_letter_message(const json_t *letter, size_t *len_r, bool *binary_r)
{
	const json_t *text = json_object_get(letter, "data"),
		     *base64 = json_object_get(letter, "data_base64");
	const json_t *value = text != NULL ? text : base64;
	const char *kind = json_string_value(json_object_get(letter, "event"));
	if (kind == NULL || strcmp(kind, "message") != 0 || !json_is_string(value))
		return NULL;
	size_t n = json_string_length(value);
	const char *bytes = json_string_value(value);
	uint8_t *message = malloc(n + 1);
	*binary_r = text == NULL;
	*len_r = n;
	if (message == NULL || text != NULL) {
		if (message != NULL)
			memcpy(message, bytes, n);
		return message;
	}
	int decoded = EVP_DecodeBlock(message, (const unsigned char *)bytes, (int)n);
	if (decoded < 0) {
		free(message);
		return NULL;
	}
	*len_r = (size_t)decoded - (n > 0 && bytes[n - 1] == '=') - (n > 1 && bytes[n - 2] == '=');
	return message;
}

/* Reads the messages of a step, and gives the lines that say that they are given back. */
static char *replay_on_mark(void *ctx, int *fd_r, int *error_r)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	char *line = NULL, *marks = NULL;
	size_t cap = 0, n = 0, bytes = 0;
	FILE *to = open_memstream(&marks, &n);
	unsigned i = 0;
	for (; to != NULL && i < job->n_step && (i == 0 || bytes < REPLAY_STEP_BYTES); i++) {
		struct letter *letter = job->step[i];
		json_t *value = replay_letter_read(letter, job->file, &line, &cap);
		letter->message = replay_letter_message(value, &letter->len, &letter->binary);
		json_decref(value);
		bytes += letter->len;
		if (letter->message != NULL)
			fprintf(to, "{\"t\":\"replayed\",\"replayed\":\"%s\"}\n", letter->id);
	}
	bool ok = to != NULL && fclose(to) == 0;
	*error_r = ok ? 0 : errno;
	/* the rest is in the next step */
	if (ok)
		job->n_step = i;
	free(line);
	*fd_r = fileno(job->file);
	return marks;
}

/* The lines that take that back for those that could not be given. */
static char *replay_on_take_back(void *ctx, int *fd_r, int *error_r)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	*fd_r = fileno(job->file);
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	for (unsigned i = 0; to != NULL && i < job->n_step; i++)
		if (job->step[i]->lost)
			fprintf(to, "{\"t\":\"left\",\"left\":\"%s\"}\n", job->step[i]->id);
	if (to == NULL || fclose(to) != 0)
		*error_r = errno;
	return text;
}

/* --- giving back: on the loop ----------------------------------------------------------------- */

static void replay_begin(struct replay *l);
static void replay_go_on(struct replay_job *job);

static void replay_say(const struct replay_job *job, struct codec_out *o)
{
	if (job->list && job->error == 0) {
		codec_member_raw(o, "dead_letters", "[");
		if (job->text.n > 0)
			codec_raw(o, job->text.p + 1, job->text.n - 1);
		codec_raw(o, "]", 1);
		if (job->left_out > 0)
			codec_member_uint(o, "left_out", job->left_out);
	} else if (!job->list) {
		codec_member_uint(o, "replayed", job->replayed);
		codec_member_uint(o, "left", job->left);
	}
	if (job->error != 0)
		codec_member_text(o, "error", span_of(strerror(job->error)));
}

static void replay_finish(struct replay_job *job, int error)
{
	struct replay *l = job->letters;
	struct codec_out o = {.n = 0};
	job->error = error;
	codec_object(&o, "reply");
	size_t from = o.text.n;
	replay_say(job, &o);
	job->answer(job->ctx, codec_failed(&o) ? SPAN(",\"error\":\"no memory\"")
					       : (struct span){o.text.p + from, o.text.n - from});
	codec_free(&o);
	STAILQ_REMOVE_HEAD(&l->jobs, next);
	replay_job_free(job);
	replay_begin(l);
}

static void replay_try(struct replay_job *job, deadletter_work *work, deadletter_tried *tried)
{
	if (!deadletter_try(job->letters->file, work, tried, job))
		replay_finish(job, ENOMEM);
}

static struct session *replay_letter_session(const struct replay *l, const struct letter *letter)
{
	struct session_id id;
	if (!session_id_parse(span_of(letter->conn), &id) || id.host != l->hub->host_id)
		return NULL;
	struct session *s = slotmap_get(&l->hub->sessions, id.local);
	return s != NULL && !s->ended ? s : NULL;
}

static bool replay_letter_submit(const struct replay *l, const struct letter *letter)
{
	struct session *s = replay_letter_session(l, letter);
	if (s == NULL)
		return false;
	struct hub_event e = {.kind = EVENT_MESSAGE,
			      .message = {.bytes = letter->message,
					  .len = letter->len,
					  .binary = letter->binary}};
	return delivery_submit(s->mount, s, &e);
}

static void replay_letter_leave(struct replay_job *job, struct letter *letter)
{
	job->left += !letter->left;
	letter->left = true;
}

static void replay_on_taken_back(void *ctx, int error)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	if (error != 0)
		replay_finish(job, error);
	else
		replay_go_on(job);
}

/* It is on the disk that they are given back: they are. */
static void replay_on_marked(void *ctx, int error)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	bool lost = false;
	for (unsigned i = 0; i < job->n_step; i++) {
		struct letter *letter = job->step[i];
		bool given = error == 0 && letter->message != NULL &&
			     replay_letter_submit(job->letters, letter);
		letter->lost = error == 0 && letter->message != NULL && !given;
		lost = lost || letter->lost;
		job->replayed += given;
		if (error == 0 && !given)
			replay_letter_leave(job, letter);
		free(letter->message);
		letter->message = NULL;
	}
	if (error != 0)
		replay_finish(job, error);
	else if (lost) /* its connection has gone, or there was no memory: it stays a letter */
		replay_try(job, replay_on_take_back, replay_on_taken_back);
	else
		replay_go_on(job);
}

static char *replay_on_nothing(void *ctx, int *fd_r, int *error_r)
{
	(void)ctx;
	(void)fd_r;
	(void)error_r;
	return NULL;
}

/* The next step: of letters whose connections are here. */
static void replay_go_on(struct replay_job *job)
{
	if (job->n_step > 0)
		job->at = (size_t)(job->step[job->n_step - 1] - job->v) + 1;
	size_t last = job->at + REPLAY_LOOKS;
	job->n_step = 0;
	for (size_t i = job->at; i < job->n && i < last && job->n_step < REPLAY_STEP; i++) {
		if (replay_letter_session(job->letters, &job->v[i]) != NULL)
			job->step[job->n_step++] = &job->v[i];
		else
			replay_letter_leave(job, &job->v[i]);
		job->at += job->n_step == 0;
	}
	if (job->n_step > 0)
		replay_try(job, replay_on_mark, replay_on_marked);
	else if (job->at < job->n)
		replay_try(job, replay_on_nothing,
			   replay_on_taken_back); /* others have their turn */
	else
		replay_finish(job, 0);
}

static void replay_on_scanned(void *ctx, int error)
{
	struct replay_job *job = ctx;
	CHECK_IS(job, CHECK_REPLAY_JOB);
	if (error != 0 || job->list)
		replay_finish(job, error);
	else
		replay_go_on(job);
}

static void replay_begin(struct replay *l)
{
	struct replay_job *job = STAILQ_FIRST(&l->jobs);
	if (job != NULL)
		replay_try(job, replay_on_scan, replay_on_scanned);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool replay_ask(struct replay *l, bool list, struct span mount, struct span only,
		       replay_answer *answer, void *ctx)
{
	if (deadletter_path(l->file) == NULL) {
		answer(ctx, SPAN(",\"error\":\"the host has no --dead-letter file\""));
		return true;
	}
	if (only.n >= REPLAY_ID_MAX) {
		answer(ctx, SPAN(",\"replayed\":0,\"left\":0"));
		return true;
	}
	struct replay_job *job = calloc(1, sizeof *job);
	char *path = mount.p != NULL ? strndup(mount.p, mount.n) : NULL;
	if (job == NULL || (mount.p != NULL && path == NULL)) {
		free(job);
		free(path);
		return false;
	}
	*job = (struct replay_job){.magic = CHECK_REPLAY_JOB,
				   .letters = l,
				   .list = list,
				   .mount = path,
				   .answer = answer,
				   .ctx = ctx};
	if (only.n > 0)
		memcpy(job->only, only.p, only.n);
	bool first = STAILQ_EMPTY(&l->jobs);
	STAILQ_INSERT_TAIL(&l->jobs, job, next);
	if (first)
		replay_begin(l);
	return true;
}

bool replay_list(struct replay *l, struct span mount, replay_answer *answer, void *ctx)
{
	return replay_ask(l, true, mount, (struct span){0}, answer, ctx);
}

bool replay_replay(struct replay *l, struct span mount, struct span id, replay_answer *answer,
		   void *ctx)
{
	return replay_ask(l, false, mount, id, answer, ctx);
}

struct replay *replay_new(struct hub *hub, struct deadletter *d)
{
	struct replay *l = calloc(1, sizeof *l);
	if (l == NULL)
		return NULL;
	*l = (struct replay){.hub = hub, .file = d};
	STAILQ_INIT(&l->jobs);
	return l;
}

void replay_free(struct replay **l_p)
{
	struct replay *l = *l_p;
	*l_p = NULL;
	struct replay_job *job;
	if (l == NULL)
		return;
	while ((job = STAILQ_FIRST(&l->jobs)) != NULL) {
		STAILQ_REMOVE_HEAD(&l->jobs, next);
		replay_job_free(job);
	}
	free(l);
}
