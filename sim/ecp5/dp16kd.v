// DP16KD of Lattice's ECP5: a block of RAM of 16 kbit, 18 with parity bits, as Yosys uses it.
//
// Written for this project from the public description (Lattice FPGA-TN-02204, ECP5 and ECP5-5G
// Memory Usage Guide). The block has 1024 words of 18 bits, each of two bytes of 8 bits and a
// parity bit. A port sees it in units of its DATA_WIDTH:
//
//   width   address    unit
//   36      AD[13:5]   two words: DIA and DIB together written by A, DOA and DOB read by B
//   18      AD[13:4]   a word
//   9       AD[13:3]   a byte with its parity bit
//   4, 2, 1 AD[13:2], AD[13:1], AD[13:0]   a part of a byte, never of a parity bit
//
// Of widths 18 and 36 AD[1:0], or AD[3:0], enable the writing of their bytes of 9 bits. A port is
// used in a clock edge with CE high and CS equal to CSDECODE; WE chooses writing. What it reads is
// at its outputs after the edge; in writing they keep what they had (NORMAL), show what is written
// (WRITETHROUGH) or what was there (READBEFOREWRITE).
//
// Where one port reads what the other writes in the same edge, the description leaves open what
// comes. The model gives the complement of what was there, so that nothing can rely on it. Both
// ports are taken to have one clock. Not modelled and refused: the outputs' registers (REGMODE)
// when the model is built, resets of the outputs (RST) when they happen.
module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
  DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
  DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
  DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
  DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18;
  parameter DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG";
  parameter REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA";
  parameter CLKBMUX = "CLKB";
  parameter GSR = "ENABLED";
  parameter [319:0] INITVAL_00 = 320'h0;
  parameter [319:0] INITVAL_01 = 320'h0;
  parameter [319:0] INITVAL_02 = 320'h0;
  parameter [319:0] INITVAL_03 = 320'h0;
  parameter [319:0] INITVAL_04 = 320'h0;
  parameter [319:0] INITVAL_05 = 320'h0;
  parameter [319:0] INITVAL_06 = 320'h0;
  parameter [319:0] INITVAL_07 = 320'h0;
  parameter [319:0] INITVAL_08 = 320'h0;
  parameter [319:0] INITVAL_09 = 320'h0;
  parameter [319:0] INITVAL_0A = 320'h0;
  parameter [319:0] INITVAL_0B = 320'h0;
  parameter [319:0] INITVAL_0C = 320'h0;
  parameter [319:0] INITVAL_0D = 320'h0;
  parameter [319:0] INITVAL_0E = 320'h0;
  parameter [319:0] INITVAL_0F = 320'h0;
  parameter [319:0] INITVAL_10 = 320'h0;
  parameter [319:0] INITVAL_11 = 320'h0;
  parameter [319:0] INITVAL_12 = 320'h0;
  parameter [319:0] INITVAL_13 = 320'h0;
  parameter [319:0] INITVAL_14 = 320'h0;
  parameter [319:0] INITVAL_15 = 320'h0;
  parameter [319:0] INITVAL_16 = 320'h0;
  parameter [319:0] INITVAL_17 = 320'h0;
  parameter [319:0] INITVAL_18 = 320'h0;
  parameter [319:0] INITVAL_19 = 320'h0;
  parameter [319:0] INITVAL_1A = 320'h0;
  parameter [319:0] INITVAL_1B = 320'h0;
  parameter [319:0] INITVAL_1C = 320'h0;
  parameter [319:0] INITVAL_1D = 320'h0;
  parameter [319:0] INITVAL_1E = 320'h0;
  parameter [319:0] INITVAL_1F = 320'h0;
  parameter [319:0] INITVAL_20 = 320'h0;
  parameter [319:0] INITVAL_21 = 320'h0;
  parameter [319:0] INITVAL_22 = 320'h0;
  parameter [319:0] INITVAL_23 = 320'h0;
  parameter [319:0] INITVAL_24 = 320'h0;
  parameter [319:0] INITVAL_25 = 320'h0;
  parameter [319:0] INITVAL_26 = 320'h0;
  parameter [319:0] INITVAL_27 = 320'h0;
  parameter [319:0] INITVAL_28 = 320'h0;
  parameter [319:0] INITVAL_29 = 320'h0;
  parameter [319:0] INITVAL_2A = 320'h0;
  parameter [319:0] INITVAL_2B = 320'h0;
  parameter [319:0] INITVAL_2C = 320'h0;
  parameter [319:0] INITVAL_2D = 320'h0;
  parameter [319:0] INITVAL_2E = 320'h0;
  parameter [319:0] INITVAL_2F = 320'h0;
  parameter [319:0] INITVAL_30 = 320'h0;
  parameter [319:0] INITVAL_31 = 320'h0;
  parameter [319:0] INITVAL_32 = 320'h0;
  parameter [319:0] INITVAL_33 = 320'h0;
  parameter [319:0] INITVAL_34 = 320'h0;
  parameter [319:0] INITVAL_35 = 320'h0;
  parameter [319:0] INITVAL_36 = 320'h0;
  parameter [319:0] INITVAL_37 = 320'h0;
  parameter [319:0] INITVAL_38 = 320'h0;
  parameter [319:0] INITVAL_39 = 320'h0;
  parameter [319:0] INITVAL_3A = 320'h0;
  parameter [319:0] INITVAL_3B = 320'h0;
  parameter [319:0] INITVAL_3C = 320'h0;
  parameter [319:0] INITVAL_3D = 320'h0;
  parameter [319:0] INITVAL_3E = 320'h0;
  parameter [319:0] INITVAL_3F = 320'h0;

  generate
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG")
      $error("DP16KD: registers of the outputs are not modelled");
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
      $error("DP16KD: another CSDECODE than 0b000 is not modelled");
  endgenerate

  // two words in a row, so that every width has its units within one
  reg [35:0] mem [0:511];
  reg [35:0] out_a, out_b;

  // contents at power-on: words of 18 bits, 20 bits apart
  localparam [20479:0] INIT = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
    INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
    INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
    INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
    INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
    INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
    INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
    INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  integer k;
  initial begin
    for (k = 0; k < 512; k = k + 1)
      mem[k] = {INIT[40 * k + 20 +: 18], INIT[40 * k +: 18]};
    out_a = 0;
    out_b = 0;
  end

  // where a unit begins in a row
  function [5:0] place(input integer width, input [4:0] low);
    case (width)
      36: place = 0;
      18: place = low[4] ? 18 : 0;
      9: place = (low[4] ? 18 : 0) + (low[3] ? 9 : 0);
      4: place = (low[4] ? 18 : 0) + (low[3] ? 9 : 0) + {low[2], 2'b00};
      2: place = (low[4] ? 18 : 0) + (low[3] ? 9 : 0) + {low[2:1], 1'b0};
      default: place = (low[4] ? 18 : 0) + (low[3] ? 9 : 0) + low[2:0];
    endcase
  endfunction

  // bits of a unit
  function [35:0] unit(input integer width);
    unit = (37'h1 << width) - 37'h1;
  endfunction

  // bits of a unit whose bytes are enabled
  function [35:0] enabled(input integer width, input [3:0] low);
    case (width)
      36: enabled = {{9{low[3]}}, {9{low[2]}}, {9{low[1]}}, {9{low[0]}}};
      18: enabled = {18'h0, {9{low[1]}}, {9{low[0]}}};
      default: enabled = unit(width);
    endcase
  endfunction

  // what a port sees of a row: as it was, or with what it writes; undefined where the other writes
  function [35:0] seen_in(input through, input [35:0] row, input [35:0] write,
                          input [35:0] mask, input [35:0] other);
    seen_in = ((through ? (row & ~mask) | (write & mask) : row) & ~other) | (~row & other);
  endfunction

  wire [13:0] address_a = {
    ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] address_b = {
    ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] low_in = {
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
    DIA3, DIA2, DIA1, DIA0};
  wire [17:0] high_in = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
    DIB3, DIB2, DIB1, DIB0};
  wire [8:0] row_a = address_a[13:5], row_b = address_b[13:5];
  wire [5:0] place_a = place(DATA_WIDTH_A, address_a[4:0]);
  wire [5:0] place_b = place(DATA_WIDTH_B, address_b[4:0]);
  wire used_a = CEA & ~(CSA2 | CSA1 | CSA0), used_b = CEB & ~(CSB2 | CSB1 | CSB0);
  wire [35:0] mask_a = used_a & WEA ? enabled(DATA_WIDTH_A, address_a[3:0]) << place_a : 36'h0;
  wire [35:0] mask_b = used_b & WEB ? enabled(DATA_WIDTH_B, address_b[3:0]) << place_b : 36'h0;
  wire [35:0] write_a = (DATA_WIDTH_A == 36 ? {high_in, low_in} : {18'h0, low_in}) << place_a;
  wire [35:0] write_b = {18'h0, high_in} << place_b;
  // what the other port writes in this row
  wire [35:0] other_a = row_a == row_b ? mask_b : 36'h0;
  wire [35:0] other_b = row_a == row_b ? mask_a : 36'h0;
  // of a row, after both; bits that both write are undefined, too
  wire [35:0] new_a = ((mem[row_a] & ~(mask_a | other_a)) | (write_a & mask_a & ~other_a)
                       | (write_b & other_a & ~mask_a)) ^ (~mem[row_a] & mask_a & other_a);
  wire [35:0] new_b = ((mem[row_b] & ~(mask_b | other_b)) | (write_b & mask_b & ~other_b)
                       | (write_a & other_b & ~mask_b)) ^ (~mem[row_b] & mask_b & other_b);
  wire clock_a = CLKAMUX == "INV" ? ~CLKA : CLKA;
  wire clock_b = CLKBMUX == "INV" ? ~CLKB : CLKB;

  always @(posedge clock_a) begin
    if (RSTA) begin
      $display("DP16KD: a reset of the outputs is not modelled");
      $stop;
    end
    if (|mask_a)
      mem[row_a] <= new_a;
    if (used_a & (~WEA | WRITEMODE_A != "NORMAL"))
      out_a <= seen_in(WEA & WRITEMODE_A == "WRITETHROUGH", mem[row_a], write_a, mask_a, other_a)
        >> place_a;
  end

  always @(posedge clock_b) begin
    if (RSTB) begin
      $display("DP16KD: a reset of the outputs is not modelled");
      $stop;
    end
    if (|mask_b)
      mem[row_b] <= new_b;
    if (used_b & (~WEB | WRITEMODE_B != "NORMAL"))
      out_b <= seen_in(WEB & WRITEMODE_B == "WRITETHROUGH", mem[row_b], write_b, mask_b, other_b)
        >> place_b;
  end

  wire [35:0] seen_a = out_a & unit(DATA_WIDTH_A), seen_b = out_b & unit(DATA_WIDTH_B);
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
    DOA3, DOA2, DOA1, DOA0} = DATA_WIDTH_B == 36 ? seen_b[17:0] : seen_a[17:0];
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0}
    = DATA_WIDTH_B == 36 ? seen_b[35:18] : seen_b[17:0];
endmodule
