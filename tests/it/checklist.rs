//! What a registry client must survive: a test for each line of the
//! checklist, named after the line's id.

mod a_names;
mod b_blobs;
mod b_pull;
mod c_push;
mod d_order;
mod e_listings;
mod f_auth;
mod g_limits;
mod h_media;
mod i_layout;
mod j_security;
