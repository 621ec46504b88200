/* A client by libstrophe that sends each text back. Arguments: JID, password, CA file, then host and port of each node.
 * Says `online JID` once, `heard TEXT`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>

static xmpp_ctx_t *ctx;
static char **arguments;
static int nodes, node, online;

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *stanza, void *unused)
{
    (void)unused;
    const char *type = xmpp_stanza_get_type(stanza);
    char *text = xmpp_message_get_body(stanza);
    if (text && !(type && !strcmp(type, "error"))) {
        printf("heard %s\n", text);
        xmpp_stanza_t *answer = xmpp_message_new(ctx, "chat", xmpp_stanza_get_from(stanza), NULL);
        xmpp_message_set_body(answer, text);
        xmpp_send(conn, answer);
        xmpp_stanza_release(answer);
    }
    if (text)
        xmpp_free(ctx, text);
    return 1;
}

static void on_stream(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error, void *unused)
{
    (void)error, (void)stream_error, (void)unused;
    if (event == XMPP_CONN_CONNECT) {
        xmpp_handler_add(conn, on_message, NULL, "message", NULL, NULL);
        xmpp_stanza_t *presence = xmpp_presence_new(ctx);
        xmpp_send(conn, presence);
        xmpp_stanza_release(presence);
        /* Said of a session that is resumed, too. */
        if (!online)
            printf("online %s\n", xmpp_conn_get_bound_jid(conn));
        online = 1;
    } else {
        xmpp_stop(ctx);
    }
}

static xmpp_conn_t *dial(xmpp_sm_state_t *state)
{
    xmpp_conn_t *conn = xmpp_conn_new(ctx);
    xmpp_conn_set_jid(conn, arguments[1]);
    xmpp_conn_set_pass(conn, arguments[2]);
    xmpp_conn_set_cafile(conn, arguments[3]);
    xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_MANDATORY_TLS);
    if (state)
        xmpp_conn_set_sm_state(conn, state);
    char **at = arguments + 4 + 2 * (node++ % nodes);
    if (xmpp_connect_client(conn, at[0], (unsigned short)atoi(at[1]), on_stream, NULL))
        exit(1);
    return conn;
}

int main(int count, char **given)
{
    arguments = given;
    nodes = (count - 4) / 2;
    signal(SIGPIPE, SIG_IGN); /* a node that dies while we write is no reason to die */
    setvbuf(stdout, NULL, _IOLBF, 0);
    xmpp_initialize();
    ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(XMPP_LEVEL_WARN));
    xmpp_conn_t *conn = dial(NULL);
    for (;;) {
        xmpp_run(ctx);
        xmpp_sm_state_t *state = xmpp_conn_get_sm_state(conn);
        xmpp_conn_release(conn);
        conn = dial(state);
    }
}
